//! Keys that are forgotten by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Memory;
use crate::log::lease::kept;
use crate::log::{Answer, Bucket, Leases, Leasing, LogError, RIGHT, Regional as _};

pub(super) const WORKERS: &str = "workers";
pub(super) const RIGHTS: &str = "rights";

/// A bucket's keys.
pub(super) struct Keys {
    age: Duration,
    revision: u64,
    keys: BTreeMap<String, (u64, String, Instant)>,
}

impl Keys {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            age: kept(lease),
            revision: 0,
            keys: BTreeMap::new(),
        }
    }

    fn forget(&mut self, now: Instant) {
        let age = self.age;
        self.keys.retain(|_, (_, _, at)| now - *at < age);
    }

    fn get(&self, key: &str) -> Option<(u64, String)> {
        let (revision, value, _) = self.keys.get(key)?;
        Some((*revision, value.clone()))
    }

    /// Writes a key that is at a revision, 0 for none.
    fn put(&mut self, key: &str, value: &str, at: u64, now: Instant) -> Option<u64> {
        if self.get(key).map_or(0, |(revision, _)| revision) != at {
            return None;
        }
        self.revision += 1;
        let entry = (self.revision, value.to_owned(), now);
        self.keys.insert(key.to_owned(), entry);
        Some(self.revision)
    }
}

impl Leasing for Memory {
    fn workers(&self, term: Duration) -> Answer<'_, Leases> {
        Box::pin(self.leases(WORKERS, term))
    }

    fn rights(&self) -> Answer<'_, Leases> {
        Box::pin(self.leases(RIGHTS, RIGHT))
    }
}

impl Memory {
    async fn leases(&self, name: &'static str, term: Duration) -> Result<Leases, LogError> {
        let log = self.clone();
        let bucket = OfRegion { log, name };
        bucket.with(|_, _| ()).await?;
        Ok(Leases::new(bucket, term))
    }
}

struct OfRegion {
    log: Memory,
    name: &'static str,
}

impl OfRegion {
    async fn with<T>(&self, work: impl FnOnce(&mut Keys, Instant) -> T) -> Result<T, LogError> {
        let own = self.log.region();
        let now = self.log.world().now();
        self.log
            .at(own, |state| {
                let keys = state.buckets.get_mut(self.name);
                let keys =
                    keys.ok_or_else(|| LogError::Away(format!("no bucket {}", self.name)))?;
                keys.forget(now);
                Ok(work(keys, now))
            })
            .await
    }
}

impl Bucket for OfRegion {
    fn workers(&self) -> Answer<'_, Vec<(u16, u64, String)>> {
        Box::pin(self.with(|keys, _| {
            let workers = keys.keys.iter().filter_map(|(key, (revision, by, _))| {
                let worker = key.strip_prefix("w.")?.parse().ok()?;
                Some((worker, *revision, by.clone()))
            });
            workers.collect()
        }))
    }

    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<(u64, String)>> {
        Box::pin(self.with(move |keys, _| keys.get(key)))
    }

    fn create<'a>(&'a self, key: &'a str, value: &'a str) -> Answer<'a, Option<u64>> {
        Box::pin(self.with(move |keys, now| keys.put(key, value, 0, now)))
    }

    fn update<'a>(
        &'a self,
        key: &'a str,
        value: &'a str,
        revision: u64,
    ) -> Answer<'a, Option<u64>> {
        Box::pin(self.with(move |keys, now| keys.put(key, value, revision, now)))
    }

    fn delete<'a>(&'a self, key: &'a str, revision: u64) -> Answer<'a, ()> {
        Box::pin(async move {
            let gone = self.with(move |keys, _| match keys.get(key) {
                Some((at, _)) if at == revision => keys.keys.remove(key).is_some(),
                Some(_) | None => false,
            });
            if gone.await? {
                Ok(())
            } else {
                Err(LogError::Away("it is another revision".to_owned()))
            }
        })
    }
}
