//! What a follower reads, beside its other work.

use std::sync::Arc;

use chorus_protocol::server::Reactions;
use chorus_protocol::{Region, StreamId};

use super::core::{Found, Past, Read, Regions, Standing};
use crate::gateway::followers::Shared;
use crate::history::HistoryError;
use crate::log::{Log, LogError};
use crate::store::Page;

/// What is read.
pub(super) enum Task {
    History,
    Totals(Region),
    Log(Read),
}

/// What came of it.
pub(super) enum Done {
    History(Result<Past, HistoryError>),
    Totals(Region, Result<Reactions, LogError>),
    Log(Read, Result<Found, LogError>),
}

pub(super) async fn perform(shared: Arc<Shared>, stream: StreamId, task: Task) -> Done {
    match task {
        Task::History => Done::History(history(&shared, &stream).await),
        Task::Totals(region) => {
            let asked = shared.log.reaction_totals(&region, &stream);
            let totals = shared.log.registry().of_peer(&region, asked).await;
            Done::Totals(region, totals)
        }
        Task::Log(read) => {
            let range = (read.after, read.to);
            let found = found(&*shared.log, &stream, &read.region, range, read.max).await;
            Done::Log(read, found)
        }
    }
}

async fn history(shared: &Shared, stream: &StreamId) -> Result<Past, HistoryError> {
    let page = Page {
        limit: shared.bounds.newest_max,
        ..Page::default()
    };
    let part = shared.history.read(stream, page).await?;
    Ok(Past {
        at: part.at,
        comments: part.comments,
        decisions: part.decisions,
        comment_count: part.comment_count,
    })
}

/// What a region's log holds of a stream after a sequence and at least up to another, at most `max` events.
pub(in crate::gateway) async fn found(
    log: &dyn Log,
    stream: &StreamId,
    region: &Region,
    (after, to): (u64, u64),
    max: usize,
) -> Result<Found, LogError> {
    let stretch = log.stretch(region, stream, after, to, max).await?;
    Ok(Found {
        epoch: stretch.epoch,
        first_seq: stretch.part.first_seq,
        last_seq: stretch.part.last_seq,
        events: stretch.tail.events,
        complete: stretch.tail.complete,
    })
}

/// The configured regions and how they stand now.
pub(in crate::gateway) fn standings(log: &dyn Log) -> Regions {
    let known = log.regions();
    let standing = |region: &Region| match known.get(region) {
        Some(known) if log.registry().is_away(region) => Standing::Mirrored { epoch: known.epoch },
        Some(known) => Standing::Known { epoch: known.epoch },
        None => Standing::Away,
    };
    let all = log.all_regions().into_iter();
    all.map(|region| {
        let standing = standing(&region);
        (region, standing)
    })
    .collect()
}
