//! History: the store and the log's tail as one, so that what is `durable` can be read at once.
//!
//! The store is read first, with its position of the same moment; then the log after that position. A comment only
//! ever moves from the log to the store, so none is missed between the two.

mod posted;

use std::collections::BTreeMap;
use std::sync::Arc;

use chorus_protocol::backhaul::Item;
use chorus_protocol::{CommentId, CommentRecord, Offset, Position, StreamId};
use serde::Deserialize;

pub use posted::{Posted, Standing, posted};

use crate::log::{Log, LogError};
use crate::store::{Page, Store, StoreError};

/// Items of a stream in the log that the store does not have yet; more means that `persist` is days behind.
const TAIL_ITEMS_MAX: usize = 200_000;

/// Why history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `persist` is too far behind.
    #[error("the store is more than {TAIL_ITEMS_MAX} comments behind the log")]
    Behind,
}

/// A part of a stream's history.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// The comments, in the order asked for.
    pub items: Vec<(CommentId, Item)>,
    /// Comments of the stream in all.
    pub comment_count: u64,
    /// Up to where in every region's log this is complete.
    pub at: Position,
}

/// The reader of history.
#[derive(Clone)]
pub struct History {
    log: Log,
    store: Arc<dyn Store>,
}

impl History {
    /// Over a log and a store.
    #[must_use]
    pub fn new(log: Log, store: Arc<dyn Store>) -> Self {
        Self { log, store }
    }

    /// A page of a stream's comments, with their number and the position.
    ///
    /// # Errors
    /// When the log or the store is away.
    pub async fn read(&self, stream: &StreamId, page: Page) -> Result<Part, HistoryError> {
        let slice = self.store.comments(stream.clone(), page).await?;
        let mut part = Part {
            comment_count: slice.comment_count,
            ..Part::default()
        };
        let mut found: BTreeMap<CommentId, Item> = BTreeMap::new();
        for (region, known) in self.log.regions() {
            let stored = slice.at.iter().find(|(name, _)| *name == region);
            // A log that was made anew shares nothing with what the store has of the old one.
            let after = match stored {
                Some((_, at)) if at.epoch == known.epoch => at.seq,
                _ => 0,
            };
            let tail = self
                .log
                .settled_tail(&region, stream, after, TAIL_ITEMS_MAX)
                .await?;
            if !tail.complete {
                return Err(HistoryError::Behind);
            }
            part.comment_count += tail.items.len() as u64;
            let seq = tail.last_seq().unwrap_or(after);
            let epoch = known.epoch;
            part.at.advance(&region, Offset { epoch, seq });
            for item in tail.items {
                if let Some((id, parent)) = glance(&item.record)
                    && page.before.is_none_or(|before| id < before)
                    && page.after.is_none_or(|after| id > after)
                    && page.parent.is_none_or(|of| parent == Some(of))
                {
                    found.insert(id, item);
                }
            }
        }
        part.items = merge(slice.items, found, page);
        Ok(part)
    }
}

fn merge(
    stored: Vec<(CommentId, Item)>,
    tail: BTreeMap<CommentId, Item>,
    page: Page,
) -> Vec<(CommentId, Item)> {
    let mut all = stored;
    let known: std::collections::BTreeSet<CommentId> = all.iter().map(|(id, _)| *id).collect();
    all.extend(tail.into_iter().filter(|(id, _)| !known.contains(id)));
    if page.oldest_first {
        all.sort_by_key(|(id, _)| *id);
    } else if !page.top {
        all.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    }
    // By likes the store's order stands: what is only in the log has none yet and comes last.
    all.truncate(page.limit);
    all
}

/// The id and the parent of a record, without reading the rest.
#[must_use]
pub fn glance(record: &[u8]) -> Option<(CommentId, Option<CommentId>)> {
    #[derive(Deserialize)]
    struct Glance {
        comment: Ids,
    }
    #[derive(Deserialize)]
    struct Ids {
        id: CommentId,
        #[serde(default)]
        parent_id: Option<CommentId>,
    }
    if let Ok(Glance { comment }) = rmp_serde::from_slice(record) {
        return Some((comment.id, comment.parent_id));
    }
    // Written without field names: only all of it can be read.
    let comment = decode(record)?.comment;
    Some((comment.id, comment.parent_id))
}

/// A record in full.
#[must_use]
pub fn decode(record: &[u8]) -> Option<CommentRecord> {
    rmp_serde::from_slice(record).ok()
}
