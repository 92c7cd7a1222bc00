//! Replays: what lies between two positions of a reader.

use chorus_protocol::session::{ReplayRange, Replayed};
use chorus_protocol::{Event, StreamId};

use super::follower::core::{CatchUp, Gap, Standing};
use super::follower::{found, standings};
use crate::log::{Log, LogError};

/// Answers a replay: all of the range, sorted by comment id, or a gap.
pub(super) async fn replay(
    log: &dyn Log,
    stream: &StreamId,
    range: ReplayRange,
    events_max: usize,
) -> Result<Replayed, LogError> {
    let max = events_max.min(range.events_max as usize);
    let Ok(mut events) = read(log, stream, &range, max).await? else {
        return Ok(Replayed {
            gap: true,
            events: Vec::new(),
        });
    };
    events.sort_by_cached_key(|event| event.envelope().map(|envelope| envelope.id));
    Ok(Replayed { gap: false, events })
}

async fn read(
    log: &dyn Log,
    stream: &StreamId,
    range: &ReplayRange,
    max: usize,
) -> Result<Result<Vec<Event>, Gap>, LogError> {
    let regions = standings(log);
    let away = range.to.0.iter().any(|(region, to)| {
        regions.get(region) == Some(&Standing::Away) && range.from.get(region) != Some(*to)
    });
    let mut missed = match CatchUp::new(&range.from, &range.to, &regions, max) {
        Ok(missed) if !away => missed,
        Ok(_) | Err(Gap) => return Ok(Err(Gap)),
    };
    while let Some((region, range, max)) = missed.wants() {
        let found = found(log, stream, region, range, max).await?;
        if missed.read(found).is_err() || missed.short().is_some() {
            return Ok(Err(Gap));
        }
    }
    let events = missed.into_missed().into_iter();
    Ok(Ok(events.flat_map(|missed| missed.events).collect()))
}
