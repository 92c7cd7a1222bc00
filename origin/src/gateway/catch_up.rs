//! What a reader missed, read from the logs: for lanes that go on from a position, and for replays.

use chorus_protocol::session::{ReplayRange, Replayed};
use chorus_protocol::{Event, Offset, Position, Region, StreamId};

use super::follower::Ready;
use crate::log::{Log, LogError};

/// What lies between two positions, by region.
pub(super) enum Missed {
    /// All of it: the region, its epoch and what is in `(from, to]`.
    All(Vec<(Region, u64, Ready)>),
    /// It cannot be had whole.
    Gap,
}

/// Reads what a stream's logs hold in `(from, to]`, at most `max` events in all.
///
/// A region that `from` does not name stands at its beginning; an unknown region or another epoch is a gap, and so is
/// what the log no longer holds.
pub(super) async fn missed(
    log: &dyn Log,
    stream: &StreamId,
    from: &Position,
    to: &Position,
    max: usize,
) -> Result<Missed, LogError> {
    if from.0.keys().any(|region| !to.0.contains_key(region)) {
        return Ok(Missed::Gap);
    }
    let mut room = max;
    let mut all = Vec::new();
    for (region, to) in &to.0 {
        let from = match from.get(region) {
            Some(from) if from.epoch != to.epoch => return Ok(Missed::Gap),
            Some(from) => from.seq,
            None => 0,
        };
        if log.epoch(region) != Some(to.epoch) {
            return Ok(Missed::Gap);
        }
        if from == to.seq {
            continue;
        }
        let (epoch, known) = log.look_at_stream(region, stream).await?;
        // Behind the oldest that is held, or beyond the newest: a position of another life of this log.
        let lost = from + 1 < known.first_seq && from < to.seq;
        if epoch != to.epoch || lost || from > known.last_seq {
            return Ok(Missed::Gap);
        }
        if from > to.seq {
            continue;
        }
        let Some(events) = range(log, region, stream, from, *to, room).await? else {
            return Ok(Missed::Gap);
        };
        room -= events.len();
        let ready = Ready {
            from,
            to: to.seq,
            events,
        };
        all.push((region.clone(), to.epoch, ready));
    }
    Ok(Missed::All(all))
}

/// The events in `(from, to]`; `None` when there are more than `max`.
async fn range(
    log: &dyn Log,
    region: &Region,
    stream: &StreamId,
    from: u64,
    to: Offset,
    max: usize,
) -> Result<Option<Vec<Event>>, LogError> {
    // One more than may be there tells "all" from "more"; what came after `to` may be among them.
    let tail = log.settled_tail(region, stream, from, max + 1).await?;
    let mut events = tail.events;
    let beyond = events.iter().position(|event| event.seq > to.seq);
    events.truncate(beyond.unwrap_or(events.len()));
    Ok((events.len() <= max).then_some(events))
}

/// Answers a replay: all of the range, sorted by comment id, or a gap.
pub(super) async fn replay(
    log: &dyn Log,
    stream: &StreamId,
    range: ReplayRange,
    events_max: usize,
) -> Result<Replayed, LogError> {
    let gap = Replayed {
        gap: true,
        events: Vec::new(),
    };
    let max = events_max.min(range.events_max as usize);
    match missed(log, stream, &range.from, &range.to, max).await? {
        Missed::Gap => Ok(gap),
        Missed::All(regions) => {
            let mut events: Vec<Event> = regions
                .into_iter()
                .flat_map(|(_, _, ready)| ready.events)
                .collect();
            events.sort_by_cached_key(|event| event.envelope().map(|envelope| envelope.id));
            Ok(Replayed { gap: false, events })
        }
    }
}
