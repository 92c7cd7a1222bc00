//! Leases: worker numbers for PoPs, and the right to be the one that persists.
//!
//! A key is created only when it is not there, renewed only at the revision last written, and forgotten by the
//! bucket one and a half lease times after the last renewal: two processes never hold one at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::Millis;

use super::{Answer, LogError, Regional};
use crate::clock;

/// How long a right lasts without renewal.
pub const RIGHT: Duration = Duration::from_secs(6);

/// After how long without a renewal a bucket forgets a key: later than its holder stops, so that clocks may differ a
/// little.
pub(super) fn kept(term: Duration) -> Duration {
    term + term / 2
}

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

/// Keys that are forgotten by themselves. Every answer fails when the log is away.
pub trait Bucket: Send + Sync {
    /// The workers' keys `w.<number>` with their revision and value.
    fn workers(&self) -> Answer<'_, Vec<(u16, u64, String)>>;
    /// A key's revision and value.
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<(u64, String)>>;
    /// Makes a key, where there is none; its revision. `None`: there is one.
    fn create<'a>(&'a self, key: &'a str, value: &'a str) -> Answer<'a, Option<u64>>;
    /// Writes a key at the revision last written; the new one. `None`: it is another one.
    fn update<'a>(&'a self, key: &'a str, value: &'a str, revision: u64)
    -> Answer<'a, Option<u64>>;
    /// Takes a key away, where it is at that revision.
    fn delete<'a>(&'a self, key: &'a str, revision: u64) -> Answer<'a, ()>;
}

/// Leases of a region. Both answers fail when the bucket is away.
pub trait Leasing: Regional {
    /// Opens the bucket of worker numbers that [`super::Provision::provision`] made.
    fn workers(&self, term: Duration) -> Answer<'_, Leases>;
    /// Opens the bucket of rights that [`super::Provision::provision`] made.
    fn rights(&self) -> Answer<'_, Leases>;
}

/// The region's leases.
#[derive(Clone)]
pub struct Leases {
    bucket: Arc<dyn Bucket>,
    term: Duration,
}

impl Leases {
    pub(super) fn new(bucket: impl Bucket + 'static, term: Duration) -> Self {
        let bucket = Arc::new(bucket);
        Self { bucket, term }
    }

    /// Leases a worker number of `[first, last]` to a holder; the one it holds already where it does. `None`: all
    /// are taken.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn worker(
        &self,
        holder: &str,
        [first, last]: [u16; 2],
    ) -> Result<Option<Lease>, LogError> {
        let taken: BTreeMap<u16, (u64, String)> = self
            .bucket
            .workers()
            .await?
            .into_iter()
            .map(|(worker, revision, by)| (worker, (revision, by)))
            .collect();
        let own = taken
            .iter()
            .find(|(worker, (_, by))| by == holder && (first..=last).contains(worker));
        if let Some((worker, (revision, _))) = own {
            let held = held(format!("w.{worker}"), *worker, holder, *revision);
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
        match self.bucket.get(name).await? {
            // Ours still, from before a lost connection.
            Some((revision, by)) if by == holder => {
                self.renew(&held(name.to_owned(), 0, holder, revision))
                    .await
            }
            Some(_) => Ok(None),
            None => self.create(name.to_owned(), 0, holder).await,
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
        let renewed = self
            .bucket
            .update(&lease.key, &lease.holder, lease.revision)
            .await?;
        Ok(renewed.map(|revision| Lease {
            until: self.until(asked_at),
            revision,
            ..lease.clone()
        }))
    }

    /// Gives a lease back before its end.
    pub async fn release(&self, lease: &Lease) {
        if let Err(error) = self.bucket.delete(&lease.key, lease.revision).await {
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
        let made = self.bucket.create(&key, holder).await?;
        Ok(made.map(|revision| Lease {
            until: self.until(asked_at),
            ..held(key, worker, holder, revision)
        }))
    }

    fn until(&self, asked_at: Millis) -> Millis {
        asked_at.plus(u64::try_from(self.term.as_millis()).unwrap_or(u64::MAX))
    }
}

fn held(key: String, worker: u16, holder: &str, revision: u64) -> Lease {
    Lease {
        worker,
        until: Millis(0),
        key,
        holder: holder.to_owned(),
        revision,
    }
}
