//! Leases in key-value buckets.

use std::time::Duration;

use async_nats::jetstream::kv;
use chorus_protocol::subject;

use super::Nats;
use crate::log::{Answer, Bucket, Leases, Leasing, LogError, RIGHT, Regional as _};

impl Leasing for Nats {
    fn workers(&self, term: Duration) -> Answer<'_, Leases> {
        Box::pin(self.open_leases(subject::workers_bucket(self.region()), term))
    }

    fn rights(&self) -> Answer<'_, Leases> {
        Box::pin(self.open_leases(subject::rights_bucket(self.region()), RIGHT))
    }
}

impl Nats {
    async fn open_leases(&self, name: String, term: Duration) -> Result<Leases, LogError> {
        let kv = self
            .inner
            .context
            .get_key_value(&name)
            .await
            .map_err(LogError::away)?;
        let log = self.clone();
        Ok(Leases::new(KeyValue { log, name, kv }, term))
    }
}

struct KeyValue {
    log: Nats,
    name: String,
    kv: kv::Store,
}

impl Bucket for KeyValue {
    /// In one request.
    fn workers(&self) -> Answer<'_, Vec<(u16, u64, String)>> {
        Box::pin(async move {
            let bucket = &self.name;
            let found = self
                .log
                .last_of_subjects(&subject::bucket_log(bucket), &format!("$KV.{bucket}.w.*"))
                .await?;
            Ok(found
                .into_iter()
                // An empty value is the mark of a lease given back.
                .filter(|(_, _, value)| !value.is_empty())
                .filter_map(|(subject, revision, value)| {
                    let worker = subject.rsplit('.').next()?.parse().ok()?;
                    Some((worker, revision, text(&value)))
                })
                .collect())
        })
    }

    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<(u64, String)>> {
        Box::pin(async move {
            let found = self.kv.entry(key).await.map_err(LogError::away)?;
            let put = found.filter(|entry| entry.operation == kv::Operation::Put);
            Ok(put.map(|entry| (entry.revision, text(&entry.value))))
        })
    }

    fn create<'a>(&'a self, key: &'a str, value: &'a str) -> Answer<'a, Option<u64>> {
        Box::pin(async move {
            match self.kv.create(key, value.to_owned().into()).await {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(LogError::away(error)),
            }
        })
    }

    fn update<'a>(
        &'a self,
        key: &'a str,
        value: &'a str,
        revision: u64,
    ) -> Answer<'a, Option<u64>> {
        Box::pin(async move {
            let value = value.to_owned().into();
            match self.kv.update(key, value, revision).await {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(None),
                Err(error) => Err(LogError::away(error)),
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a str, revision: u64) -> Answer<'a, ()> {
        Box::pin(async move {
            let gone = self.kv.delete_expect_revision(key, Some(revision));
            gone.await.map_err(LogError::away)
        })
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}
