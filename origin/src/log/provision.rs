//! Provisioning: every log, bucket and durable this region needs, made or brought up to date before a role starts.
//!
//! Idempotent, and run again after every reconnect: a server whose disk was wiped gets its logs back, and their new
//! epoch is noticed.
//!
//! A region says how its events and worker numbers are laid out in a *record* in its control log, where two that write
//! at the same time are told apart. Partitions share the epoch: it is that of the youngest when it was made, or higher
//! than the one before. A log without a record has one partition (the build before wrote none).

use std::time::Duration;

use chorus_protocol::{Region, StreamId, subject};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::{Answer, Control, LogError, RegionLog};

/// What a region's control log says of the region itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// In how many partitions its events are.
    pub partitions: u16,
    /// The incarnation of all of them.
    pub epoch: u64,
    /// When the youngest of them was made: another one is another incarnation.
    pub created_ms: u64,
    /// The first and the last of its worker numbers.
    pub workers: [u16; 2],
}

/// A partition of a region's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// When it was made.
    pub created_ms: u64,
    /// The oldest sequence it still holds.
    pub first_seq: u64,
    /// The newest sequence.
    pub last_seq: u64,
}

/// Making this region's logs and looking at any region's. Every answer fails when a server refuses or does not answer.
pub trait Provision: Control {
    /// Makes what is missing of this region besides its events, and updates what differs. `workers` is how long a
    /// worker number is leased.
    fn make_basis(&self, workers: Duration) -> Answer<'_, ()>;
    /// The same for the partitions of its events and their durables.
    fn make_events(&self) -> Answer<'_, ()>;
    /// A partition as it is; `None` when there is none.
    fn part<'a>(&'a self, region: &'a Region, partition: u16) -> Answer<'a, Option<Part>>;
    /// Makes a partition of this region take no more, for good.
    fn seal(&self, partition: u16) -> Answer<'_, ()>;
    /// Removes a partition of this region and all it holds.
    fn remove(&self, partition: u16) -> Answer<'_, ()>;
    /// Whether this region's logs have leaders now; fails when one has none.
    fn leaders(&self) -> Answer<'_, ()>;

    /// Makes what is missing and updates what differs. Fails with [`LogError::Conflict`] when a peer that can be seen
    /// has worker numbers of this region's block, with [`LogError::Partitions`] when the events are in another number
    /// of partitions.
    fn provision(&self, workers: Duration) -> Answer<'_, ()> {
        Box::pin(async move {
            let region = self.region();
            let wanted = self.registry().partitions();
            self.make_basis(workers).await?;
            let before = self.record(region).await?;
            let found = match &before {
                Some((record, _)) => record.partitions,
                None => self.unrecorded(wanted).await?,
            };
            if found != wanted {
                return Err(LogError::Partitions { found, wanted });
            }
            self.check_workers().await?;
            self.make_events().await?;
            let before = before.unzip();
            let log = self.parts(region, wanted, before.0.as_ref()).await?;
            let record = Record {
                partitions: wanted,
                epoch: log.epoch,
                created_ms: youngest(&log.parts),
                workers: self.registry().workers(),
            };
            if before.0.as_ref() != Some(&record) {
                let seq = self.put_record(&record, before.1.unwrap_or(0)).await?;
                // Of two that start at once at least one sees the other's.
                if let Err(conflict) = self.check_workers().await {
                    if let Some(old) = &before.0 {
                        self.put_record(old, seq).await?;
                    }
                    return Err(conflict);
                }
            }
            self.registry().note(region, log);
            for peer in self.registry().peers() {
                let looked = self.look_at(peer);
                if let Err(error) = self.registry().of_peer(peer, looked).await {
                    tracing::debug!(%peer, %error, "a peer's log cannot be seen yet");
                }
            }
            Ok(())
        })
    }

    /// Looks at a region again: its epoch and what its partitions hold.
    fn look_at<'a>(&'a self, region: &'a Region) -> Answer<'a, RegionLog> {
        Box::pin(async move {
            let record = self.record(region).await?.map(|(record, _)| record);
            let partitions = record.as_ref().map_or(1, |record| record.partitions);
            let log = self.parts(region, partitions, record.as_ref()).await?;
            self.registry().note(region, log.clone());
            Ok(log)
        })
    }

    /// Looks at the partition of a stream again: the region's epoch and the partition.
    fn look_at_stream<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
    ) -> Answer<'a, (u64, Part)> {
        Box::pin(async move {
            if let Some(known) = self.regions().remove(region) {
                let at = known.partition(stream);
                let part = self.part(region, at).await?;
                let before = known.parts.get(usize::from(at)).copied();
                if let (Some(part), Some(before)) = (part, before)
                    && part.created_ms == before.created_ms
                {
                    return Ok((known.epoch, part));
                }
            }
            let known = self.look_at(region).await?;
            let part = known.parts.get(usize::from(known.partition(stream)));
            let part = part.ok_or_else(|| LogError::Away(format!("{region} has no events yet")))?;
            Ok((known.epoch, *part))
        })
    }

    /// What a region says of itself, and the place of that word.
    fn record<'a>(&'a self, region: &'a Region) -> Answer<'a, Option<(Record, u64)>> {
        Box::pin(async move {
            let found = self.last_control(region, subject::region_record(region));
            let Some((seq, body)) = found.await? else {
                return Ok(None);
            };
            let record = serde_json::from_slice(&body).map_err(LogError::malformed)?;
            Ok(Some((record, seq)))
        })
    }

    /// Writes this region's record after the one at `after`, 0 for none.
    fn put_record<'a>(&'a self, record: &'a Record, after: u64) -> Answer<'a, u64> {
        Box::pin(async move {
            let body = serde_json::to_vec(record).map_err(LogError::malformed)?;
            self.put_control(subject::region_record(self.region()), body, after)
                .await
        })
    }

    /// The partitions of a region without a record: one with events of the build before, or none yet.
    fn unrecorded(&self, wanted: u16) -> Answer<'_, u16> {
        Box::pin(async move {
            let one = self.part(self.region(), 0).await?;
            Ok(if one.is_some_and(|part| part.last_seq > 0) {
                1
            } else {
                wanted
            })
        })
    }

    /// A region's partitions under its record.
    fn parts<'a>(
        &'a self,
        region: &'a Region,
        partitions: u16,
        record: Option<&'a Record>,
    ) -> Answer<'a, RegionLog> {
        Box::pin(async move {
            let parts = (0..partitions).map(|partition| self.part(region, partition));
            let parts: Option<Vec<Part>> = try_join_all(parts).await?.into_iter().collect();
            let parts = parts
                .ok_or_else(|| LogError::Away(format!("a partition of {region} is missing")))?;
            let created_ms = youngest(&parts);
            let epoch = match record {
                Some(record) if record.created_ms == created_ms => record.epoch,
                Some(record) => created_ms.max(record.epoch + 1),
                None => created_ms,
            };
            Ok(RegionLog { epoch, parts })
        })
    }

    /// Fails when a peer that can be seen has worker numbers of this region's block.
    fn check_workers(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let own = self.registry().workers();
            for peer in self.registry().peers() {
                let record = self.registry().of_peer(peer, self.record(peer)).await;
                let Ok(Some((
                    Record {
                        workers: theirs, ..
                    },
                    _,
                ))) = record
                else {
                    continue;
                };
                if own[0] <= theirs[1] && theirs[0] <= own[1] {
                    return Err(LogError::Conflict(format!(
                        "`nats.workers` of {} is {own:?}, {peer} has {theirs:?}: the blocks of worker numbers of two \
                         regions must not overlap",
                        self.region()
                    )));
                }
            }
            Ok(())
        })
    }
}

fn youngest(parts: &[Part]) -> u64 {
    parts.iter().map(|part| part.created_ms).max().unwrap_or(0)
}
