//! Reading the log: what follows a sequence, the last of many subjects, one message.

use std::collections::BTreeMap;

use chorus_protocol::server::Reactions;
use chorus_protocol::{Event, Region, StreamId};

use super::{Answer, LogError, Regional};

/// Events of one answer.
pub(super) const PAGE_EVENTS_MAX: usize = 1_000;
/// Bytes of one answer: it waits in memory.
pub(super) const PAGE_BYTES_MAX: usize = 4 << 20;

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

/// Reading any region's logs. Every answer fails when the log is away.
pub trait Read: Regional {
    /// Events of a stream from a sequence on, as many as one answer holds and at most `max`; none when there is none.
    fn page<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        from: u64,
        max: usize,
    ) -> Answer<'a, Vec<Event>>;

    /// What a region's log holds of a stream in `(after, …)`, at most `max` events.
    fn tail<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        after: u64,
        max: usize,
    ) -> Answer<'a, Tail> {
        Box::pin(async move {
            let mut tail = Tail::default();
            let mut from = after + 1;
            loop {
                let room = max.saturating_add(1) - tail.events.len();
                let page = self.page(region, stream, from, room).await?;
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

    /// As [`Read::tail`], but certain to hold all that was acknowledged before the call. Fails when the replicas stay
    /// behind, too.
    fn settled_tail<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        after: u64,
        max: usize,
    ) -> Answer<'a, Tail>;

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

    /// Every event of a partition of this region in `(after, to]`, whatever its stream, at most `max`.
    fn all_after(&self, partition: u16, after: u64, to: u64, max: usize) -> Answer<'_, Vec<Event>>;
}

/// The epoch that a region's events are read under.
pub(super) fn known_epoch(
    log: &(impl Regional + ?Sized),
    region: &Region,
) -> Result<u64, LogError> {
    log.epoch(region)
        .ok_or_else(|| LogError::Away(format!("the log of {region} was not seen yet")))
}
