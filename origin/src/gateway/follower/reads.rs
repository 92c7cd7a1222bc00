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
            let totals = shared.log.reaction_totals(&region, &stream).await;
            Done::Totals(region, totals)
        }
        Task::Log(read) => {
            let found = found(&shared.log, &stream, &read.region, read.after, read.max).await;
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

/// What a region's log holds of a stream after a sequence, at most `max` events.
pub(in crate::gateway) async fn found(
    log: &Log,
    stream: &StreamId,
    region: &Region,
    after: u64,
    max: usize,
) -> Result<Found, LogError> {
    let known = log.look_at(region).await?;
    let tail = log.settled_tail(region, stream, after, max).await?;
    Ok(Found {
        epoch: known.epoch,
        first_seq: known.first_seq,
        last_seq: known.last_seq,
        events: tail.events,
        complete: tail.complete,
    })
}

/// The configured regions and how they stand now.
pub(in crate::gateway) fn standings(log: &Log) -> Regions {
    let known = log.regions();
    let standing = |region: &Region| match known.get(region) {
        Some(log) => Standing::Known { epoch: log.epoch },
        None => Standing::Away,
    };
    let all = log.all_regions();
    all.map(|region| (region.clone(), standing(region)))
        .collect()
}
