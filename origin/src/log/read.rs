//! Reading the log: what follows a sequence, the last of many subjects, one message.

use std::collections::BTreeMap;
use std::time::Duration;

use chorus_protocol::server::Reactions;
use chorus_protocol::{Event, Region, StreamId};

use super::{Answer, LogError, Mirror, Part, Site};

/// Events of one answer.
pub(super) const PAGE_EVENTS_MAX: usize = 1_000;
/// Bytes of one answer: it waits in memory.
pub(super) const PAGE_BYTES_MAX: usize = 4 << 20;

/// How often a mirror that does not have all yet is asked again, over 60 ms.
const MIRROR_TRIES: u32 = 4;

/// What a log holds of one stream after a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// In the order of the log.
    pub events: Vec<Event>,
    /// False when there is more than was asked for.
    pub complete: bool,
}

impl Tail {
    /// The last sequence read.
    #[must_use]
    pub fn last_seq(&self) -> Option<u64> {
        self.events.last().map(|event| event.seq)
    }
}

/// What is held of a stream after a sequence, and what the log it was read from holds in all.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// Which incarnation was read.
    pub epoch: u64,
    /// The stream's partition there.
    pub part: Part,
    /// The events.
    pub tail: Tail,
}

/// Reading any region's events, in this region's mirror where it has them. Every answer fails when the log is away.
pub trait Read: Mirror {
    /// Events of a stream from a sequence on, as many as one answer holds and at most `max`; none when there is none.
    fn page<'a>(&'a self, site: &'a Site, from: u64, max: usize) -> Answer<'a, Vec<Event>>;

    /// What a log holds of a stream in `(after, …)`, at most `max` events: certain to hold all that the log had at the call.
    /// Fails when the replicas stay behind, too.
    fn settled<'a>(&'a self, site: &'a Site, after: u64, max: usize) -> Answer<'a, Tail>;

    /// As [`Read::page`], page after page.
    fn pages<'a>(&'a self, site: &'a Site, after: u64, max: usize) -> Answer<'a, Tail> {
        Box::pin(async move {
            let mut tail = Tail::default();
            let mut from = after + 1;
            loop {
                let room = max.saturating_add(1) - tail.events.len();
                let page = self.page(site, from, room).await?;
                let Some(last) = page.last() else {
                    tail.complete = true;
                    return Ok(tail);
                };
                from = last.seq + 1;
                tail.events.extend(page);
                if tail.events.len() > max {
                    tail.events.truncate(max);
                    return Ok(tail);
                }
            }
        })
    }

    /// What is held of a stream in `(after, …)`, at most `max` events. Of this region all that was acknowledged before the
    /// call; of another one what its mirror has by now, where there is one.
    fn tail<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        after: u64,
        max: usize,
    ) -> Answer<'a, Tail> {
        Box::pin(async move {
            let site = self.registry().nearest(region, stream)?;
            self.settled(&site, after, max).await
        })
    }

    /// As [`Read::tail`], from a log that has all up to `to`: the mirror, else the origin. While the region is away it is what
    /// its mirror has, which may be less.
    fn stretch<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        after: u64,
        to: u64,
        max: usize,
    ) -> Answer<'a, Stretch> {
        Box::pin(async move {
            if let Some(found) = self
                .mirrored_stretch(region, stream, after, to, max)
                .await?
            {
                return Ok(found);
            }
            let (epoch, part) = self.look_at_stream(region, stream).await?;
            let origin = self.registry().origin(region);
            let away = || LogError::Away(format!("{region} cannot be seen"));
            let site = Site::of(
                self.region(),
                region,
                &origin.ok_or_else(away)?,
                stream,
                false,
            );
            let tail = self.settled(&site, after, max).await?;
            Ok(Stretch { epoch, part, tail })
        })
    }

    /// `None`: there is no mirror, or the origin has more.
    fn mirrored_stretch<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        after: u64,
        to: u64,
        max: usize,
    ) -> Answer<'a, Option<Stretch>> {
        Box::pin(async move {
            let Some(known) = self.registry().mirror_of(region) else {
                return Ok(None);
            };
            let site = Site::of(self.region(), region, &known, stream, true);
            let alone = self.registry().is_away(region);
            let partition = known.partition(stream);
            for attempt in 0..MIRROR_TRIES {
                let found = self.mirror_part(region, partition).await?;
                let Some(found) = found.filter(|found| found.epoch == known.epoch) else {
                    return Ok(None);
                };
                let part = found.part;
                // What it began or was cut after may be at the origin.
                let lacks = after + 1 < part.first_seq;
                if alone || (part.last_seq >= to && !lacks) {
                    let tail = self.settled(&site, after, max).await?;
                    let epoch = known.epoch;
                    return Ok(Some(Stretch { epoch, part, tail }));
                }
                if lacks {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(4 << attempt)).await;
            }
            Ok(None)
        })
    }

    /// A number that grows with every event of a region's log, whatever its partition.
    fn written<'a>(&'a self, region: &'a Region) -> Answer<'a, u64>;

    /// The last sequence of every stream's subject, of those that have one.
    fn last_seqs<'a>(
        &'a self,
        region: &'a Region,
        streams: &'a [StreamId],
    ) -> Answer<'a, BTreeMap<StreamId, u64>>;

    /// A stream's reaction totals in one region's counters.
    fn reaction_totals<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
    ) -> Answer<'a, Reactions>;

    /// A stream's reaction totals of the regions that can be seen now: of one that is away what came live counts until
    /// it is back. Fails only when this region's are away.
    fn all_reaction_totals<'a>(
        &'a self,
        stream: &'a StreamId,
    ) -> Answer<'a, BTreeMap<Region, Reactions>> {
        Box::pin(async move {
            let mut all = BTreeMap::new();
            for region in self.registry().seen() {
                let asked = self.reaction_totals(&region, stream);
                match self.registry().of_peer(&region, asked).await {
                    Ok(totals) => {
                        all.insert(region, totals);
                    }
                    Err(error) if region == *self.region() => return Err(error),
                    Err(_) => {}
                }
            }
            Ok(all)
        })
    }

    /// The body at a sequence of a partition of a region's events.
    fn event_at<'a>(
        &'a self,
        region: &'a Region,
        partition: u16,
        seq: u64,
    ) -> Answer<'a, Option<Vec<u8>>>;

    /// Every event of a partition in `(after, to]`, whatever its stream, at most `max`: of this region's log, or of the
    /// mirror of another one's. `epoch` is written to them.
    fn all_after<'a>(
        &'a self,
        log: (&'a Region, u16, u64),
        after: u64,
        to: u64,
        max: usize,
    ) -> Answer<'a, Vec<Event>>;
}
