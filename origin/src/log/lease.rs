//! Leases: worker numbers for PoPs, and the right to be the one that persists.
//!
//! A key is created only when it is not there, renewed only at the revision last written, and forgotten by the
//! bucket one and a half lease times after the last renewal: two processes never hold one at the same time.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::kv;
use chorus_protocol::Millis;

use super::{Log, LogError, provision};
use crate::clock;

/// A held lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The worker number; 0 for what is no worker.
    pub worker: u16,
    /// Not valid from this time on, by this machine's clock.
    pub until: Millis,
    key: String,
    holder: String,
    revision: u64,
}

/// The region's leases.
#[derive(Clone)]
pub struct Leases {
    log: Log,
    name: String,
    bucket: kv::Store,
    term: Duration,
}

impl Log {
    /// Opens the bucket of worker numbers that [`Log::provision`] made.
    ///
    /// # Errors
    /// When it is away.
    pub async fn workers(&self, term: Duration) -> Result<Leases, LogError> {
        self.open_leases(self.workers_bucket(), term).await
    }

    /// Opens the bucket of rights that [`Log::provision`] made.
    ///
    /// # Errors
    /// When it is away.
    pub async fn rights(&self) -> Result<Leases, LogError> {
        self.open_leases(self.rights_bucket(), provision::RIGHT)
            .await
    }

    async fn open_leases(&self, name: String, term: Duration) -> Result<Leases, LogError> {
        let bucket = self
            .inner
            .context
            .get_key_value(&name)
            .await
            .map_err(LogError::away)?;
        Ok(Leases {
            log: self.clone(),
            name,
            bucket,
            term,
        })
    }
}

impl Leases {
    /// Leases a worker number of `[first, last]` to a holder; the one it holds already where it does. `None`: all
    /// are taken.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn worker(
        &self,
        holder: &str,
        first: u16,
        last: u16,
    ) -> Result<Option<Lease>, LogError> {
        let taken = self.taken().await?;
        let own = taken
            .iter()
            .find(|(worker, (_, by))| by == holder && (first..=last).contains(worker));
        if let Some((worker, (revision, _))) = own {
            let held = Lease {
                worker: *worker,
                until: Millis(0),
                key: format!("w.{worker}"),
                holder: holder.to_owned(),
                revision: *revision,
            };
            if let Some(lease) = self.renew(&held).await? {
                return Ok(Some(lease));
            }
        }
        for worker in (first..=last).filter(|worker| !taken.contains_key(worker)) {
            if let Some(lease) = self.create(format!("w.{worker}"), worker, holder).await? {
                return Ok(Some(lease));
            }
        }
        Ok(None)
    }

    /// Leases a right by its name. `None`: another holds it.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn right(&self, name: &str, holder: &str) -> Result<Option<Lease>, LogError> {
        let found = self.bucket.entry(name).await.map_err(LogError::away)?;
        match found {
            Some(entry) if entry.operation == kv::Operation::Put => {
                // Ours still, from before a lost connection.
                if entry.value != holder.as_bytes() {
                    return Ok(None);
                }
                self.renew(&Lease {
                    worker: 0,
                    until: Millis(0),
                    key: name.to_owned(),
                    holder: holder.to_owned(),
                    revision: entry.revision,
                })
                .await
            }
            Some(_) | None => self.create(name.to_owned(), 0, holder).await,
        }
    }

    /// How long a lease lasts without renewal.
    #[must_use]
    pub fn term(&self) -> Duration {
        self.term
    }

    /// Renews a lease. `None`: it was lost.
    ///
    /// # Errors
    /// When the log is away: it may have been renewed or not, and ends at its old time.
    pub async fn renew(&self, lease: &Lease) -> Result<Option<Lease>, LogError> {
        let asked_at = clock::now();
        let value = lease.holder.clone().into();
        match self.bucket.update(&lease.key, value, lease.revision).await {
            Ok(revision) => Ok(Some(Lease {
                until: self.until(asked_at),
                revision,
                ..lease.clone()
            })),
            Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(LogError::away(error)),
        }
    }

    /// Gives a lease back before its end.
    pub async fn release(&self, lease: &Lease) {
        let gone = self
            .bucket
            .delete_expect_revision(&lease.key, Some(lease.revision));
        if let Err(error) = gone.await {
            tracing::debug!(%error, "a lease was not given back; it ends by itself");
        }
    }

    async fn create(
        &self,
        key: String,
        worker: u16,
        holder: &str,
    ) -> Result<Option<Lease>, LogError> {
        let asked_at = clock::now();
        match self.bucket.create(&key, holder.to_owned().into()).await {
            Ok(revision) => Ok(Some(Lease {
                worker,
                until: self.until(asked_at),
                key,
                holder: holder.to_owned(),
                revision,
            })),
            Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(LogError::away(error)),
        }
    }

    /// The valid workers with their revision and holder, in one request.
    async fn taken(&self) -> Result<BTreeMap<u16, (u64, String)>, LogError> {
        let bucket = &self.name;
        let found = self
            .log
            .last_of_subjects(&format!("KV_{bucket}"), &format!("$KV.{bucket}.w.*"))
            .await?;
        Ok(found
            .into_iter()
            // An empty value is the mark of a lease given back.
            .filter(|(_, _, value)| !value.is_empty())
            .filter_map(|(subject, revision, value)| {
                let worker = subject.rsplit('.').next()?.parse().ok()?;
                Some((
                    worker,
                    (revision, String::from_utf8_lossy(&value).into_owned()),
                ))
            })
            .collect())
    }

    fn until(&self, asked_at: Millis) -> Millis {
        asked_at.plus(u64::try_from(self.term.as_millis()).unwrap_or(u64::MAX))
    }
}
