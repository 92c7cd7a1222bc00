//! Mirrors: a region's own copies of the other regions' events, partition by partition, under the same sequences.
//!
//! A mirror is of one incarnation of its origin, the epoch it carries in its description. A log that is made anew begins
//! at sequence 1 again, so its mirror is made anew too, once the store holds what the old one has: it may be the last copy.
//! nats-server lets a mirror answer Direct Gets under its origin's name, whatever incarnation it is of. So a mirror is read
//! by its own name, and an answer in the origin's name counts only when the origin gave it.

use std::time::{Duration, Instant};

use chorus_protocol::{Region, StreamId, subject};
use futures_util::future::try_join_all;

use super::{Answer, LogError, Part, Plan, Provision, RegionLog};
use crate::store::{Positions, position_key};

/// A mirror that gets no further for longer is said to: one whose origin was away needs some seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// A partition of a mirror as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorPart {
    /// The incarnation of the region's events that it is of.
    pub epoch: u64,
    /// In how many partitions these are.
    pub partitions: u16,
    /// What it holds. It was made when the mirror was.
    pub part: Part,
}

/// A region's mirror as of the last look.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) log: RegionLog,
    /// Messages that its origin had and it had not.
    pub(super) behind: u64,
    /// Since when it gets no further though it is behind.
    pub(super) stalled: Option<Instant>,
}

impl Seen {
    /// Compared with how it was before and with what its origin holds, where that can be seen.
    pub(super) fn after(log: RegionLog, before: Option<&Self>, origin: Option<&RegionLog>) -> Self {
        let behind = origin.map_or(0, |origin| {
            let both = origin.parts.iter().zip(&log.parts);
            both.map(|(origin, mirror)| origin.last_seq.saturating_sub(mirror.last_seq))
                .sum()
        });
        // What was behind and did not move in between, or belongs to another incarnation.
        let stuck = before.filter(|before| {
            behind > 0 && before.behind > 0 && last_seqs(&before.log) == last_seqs(&log)
        });
        let stalled = stuck.map(|before| before.stalled.unwrap_or_else(Instant::now));
        Self {
            log,
            behind,
            stalled,
        }
    }

    /// For how long it got no further, where that is too long.
    pub(super) fn stuck(&self) -> Option<Duration> {
        let still = self.stalled?.elapsed();
        (still > PATIENCE).then_some(still)
    }
}

fn last_seqs(log: &RegionLog) -> (u64, u64) {
    (log.epoch, log.parts.iter().map(|part| part.last_seq).sum())
}

/// The name of the log that a partition of a region's events is read in: that region's own, or the mirror that `own` has.
pub(super) fn log_of(own: &Region, region: &Region, partition: u16, mirrored: bool) -> String {
    if mirrored {
        subject::mirror_log(own, region, partition)
    } else {
        subject::events_log(region, partition)
    }
}

/// Where a stream's events are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Whose events.
    pub region: Region,
    /// Which incarnation of them.
    pub epoch: u64,
    /// The log's name.
    pub log: String,
    /// The stream's subject in it.
    pub subject: String,
    /// Whether it is this region's mirror.
    pub mirrored: bool,
}

impl Site {
    pub(super) fn of(
        own: &Region,
        region: &Region,
        known: &RegionLog,
        stream: &StreamId,
        mirrored: bool,
    ) -> Self {
        let partition = known.partition(stream);
        Self {
            region: region.clone(),
            epoch: known.epoch,
            log: log_of(own, region, partition, mirrored),
            subject: subject::event(region, partition, stream),
            mirrored,
        }
    }

    /// The region whose servers hold the log.
    pub(super) fn holder<'a>(&'a self, own: &'a Region) -> &'a Region {
        if self.mirrored { own } else { &self.region }
    }
}

/// Making this region's mirrors and looking at them. Every answer fails when a server refuses or does not answer.
pub trait Mirror: Provision {
    /// A partition of this region's mirror of another one; `None` when there is none.
    fn mirror_part<'a>(
        &'a self,
        region: &'a Region,
        partition: u16,
    ) -> Answer<'a, Option<MirrorPart>>;
    /// Makes a partition of the mirror, its durable at the origin and the durable of `persist` on it, or brings them up to
    /// date. Fails when there is one of another incarnation.
    fn make_mirror<'a>(
        &'a self,
        region: &'a Region,
        of: &'a RegionLog,
        partition: u16,
    ) -> Answer<'a, ()>;
    /// Removes a partition of the mirror.
    fn remove_mirror<'a>(&'a self, region: &'a Region, partition: u16) -> Answer<'a, ()>;

    /// What provisioning and making mirrors would do now. Changes nothing.
    fn plan(&self, workers: Duration) -> Answer<'_, Plan>;

    /// Looks at the mirror of a region again.
    fn look_at_mirror<'a>(&'a self, region: &'a Region) -> Answer<'a, Option<RegionLog>> {
        Box::pin(async move {
            let log = match self.mirror_part(region, 0).await? {
                None => None,
                Some(first) => {
                    let parts = (0..first.partitions).map(|at| self.mirror_part(region, at));
                    let parts: Option<Vec<_>> = try_join_all(parts).await?.into_iter().collect();
                    let same = |parts: &Vec<MirrorPart>| {
                        parts.iter().all(|part| part.epoch == first.epoch)
                    };
                    parts.filter(same).map(|parts| RegionLog {
                        epoch: first.epoch,
                        parts: parts.into_iter().map(|part| part.part).collect(),
                    })
                }
            };
            self.registry().note_mirror(region, log.clone());
            Ok(log)
        })
    }

    /// Makes the mirror of a region that can be seen, where it is missing, of another incarnation or configured in another
    /// way. `stored`: how far the store has come; what a mirror of another incarnation has beyond that stays, and so does it.
    fn mirror<'a>(&'a self, region: &'a Region, stored: &'a Positions) -> Answer<'a, ()> {
        Box::pin(async move {
            let Some(known) = self.registry().origin(region) else {
                return Err(LogError::Away(format!("{region} cannot be seen")));
            };
            for partition in 0..known.partitions() {
                if let Some(old) = self.mirror_part(region, partition).await?
                    && old.epoch != known.epoch
                {
                    let at = stored.get(&position_key(region, partition));
                    let at = at.filter(|at| at.epoch == old.epoch).map_or(0, |at| at.seq);
                    if at < old.part.last_seq {
                        let behind = old.part.last_seq - at;
                        return Err(LogError::Away(format!(
                            "the mirror of {region} is of an earlier log and the store lacks {behind} of it"
                        )));
                    }
                    self.remove_mirror(region, partition).await?;
                }
                self.make_mirror(region, &known, partition).await?;
            }
            self.look_at_mirror(region).await.map(|_| ())
        })
    }
}
