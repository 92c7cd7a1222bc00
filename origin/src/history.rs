//! History: the store and the log's tail as one, so that what is `durable` can be read at once.
//!
//! The store is read first, with its position of the same moment; then the log after that position. A comment only
//! ever moves from the log to the store, so none is missed between the two. Of a region that is away only the store
//! speaks: the position leaves it out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chorus_protocol::event::{CommentUpdate, Decision, kind};
use chorus_protocol::{
    Comment, CommentId, CommentView, Envelope, Event, Offset, Position, StreamId,
};

use futures_util::future::join_all;

use crate::log::{Log, LogError};
use crate::store::{Author, Page, Slice, Store, StoreError};

/// Events of a stream in the log that the store does not have yet; more means that `persist` is days behind.
const TAIL_EVENTS_MAX: usize = 200_000;

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
    #[error("the store is more than {TAIL_EVENTS_MAX} events behind the log")]
    Behind,
}

/// A part of a stream's history.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// The comments that were not taken away, in the order asked for.
    pub comments: Vec<(CommentId, Event)>,
    /// The decisions that stand about them.
    pub decisions: Vec<Event>,
    /// Comments of the stream in all, less those taken away.
    pub comment_count: u64,
    /// Up to where in every region's log this is complete.
    pub at: Position,
}

impl Part {
    /// The comments as viewers see them, after the decisions about them.
    #[must_use]
    pub fn shown(&self) -> Vec<Comment> {
        let mut updates: BTreeMap<CommentId, CommentUpdate> = BTreeMap::new();
        for event in &self.decisions {
            let decision = event.envelope().and_then(|envelope| envelope.decision());
            if let Some(Decision::Update { target, update }) = decision {
                let before = updates.entry(target).or_default();
                *before = before.then(update);
            }
        }
        let shown = self.comments.iter().filter_map(|(id, event)| {
            let envelope = event.envelope()?;
            let mut comment = CommentView::read(&envelope)?.to_comment()?;
            if let Some(update) = updates.get(id) {
                update.apply(&mut comment);
            }
            Some(comment)
        });
        shown.collect()
    }
}

/// The reader of history.
#[derive(Clone)]
pub struct History {
    log: Arc<dyn Log>,
    store: Arc<dyn Store>,
}

impl History {
    /// Over a log and a store.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, store: Arc<dyn Store>) -> Self {
        Self { log, store }
    }

    /// A page of a stream's comments, with their number and the position.
    ///
    /// # Errors
    /// When the log or the store is away.
    pub async fn read(&self, stream: &StreamId, page: Page) -> Result<Part, HistoryError> {
        // What is taken away in the tail leaves room on the page.
        let slice = self.store.comments(stream.clone(), page).await?;
        let (tail, at) = self.tail(stream, &slice).await?;
        let gone = tail.removed();
        let hit = slice.comments.iter().filter(|(id, _)| gone.contains(id));
        let hit = hit.count();
        let slice = if hit == 0 || page.limit == 0 {
            slice
        } else {
            let wider = Page {
                limit: page.limit + hit,
                ..page
            };
            // Its count may be of a later moment than the tail.
            Slice {
                comment_count: slice.comment_count,
                ..self.store.comments(stream.clone(), wider).await?
            }
        };
        Ok(tail.part(slice, at, page))
    }

    /// Who wrote a comment, and whether it was taken away; `None` when there is none.
    ///
    /// # Errors
    /// When the log or the store is away.
    pub async fn author(
        &self,
        stream: &StreamId,
        comment: CommentId,
    ) -> Result<Option<Author>, HistoryError> {
        // The position before the comment: what is moved to the store meanwhile is in both.
        let slice = self.store.comments(stream.clone(), Page::default()).await?;
        let mut found = self.store.author(stream.clone(), comment).await?;
        let (tail, _) = self.tail(stream, &slice).await?;
        for event in &tail.events {
            let Some(envelope) = event.envelope() else {
                continue;
            };
            if envelope.id == comment && envelope.is_comment() && found.is_none() {
                found = Some(Author {
                    user: envelope.author.to_owned(),
                    removed_by: None,
                });
            }
            if envelope.removes() == Some(comment)
                && let Some(found) = &mut found
            {
                found.removed_by = Some(envelope.id);
            }
        }
        Ok(found)
    }

    /// What the logs hold that a slice of the store does not have, and up to where.
    async fn tail(
        &self,
        stream: &StreamId,
        slice: &Slice,
    ) -> Result<(Tail, Position), HistoryError> {
        let mut tail = Tail::default();
        let mut reached = Position::default();
        let regions = self.log.regions();
        let reads = regions.iter().map(async |(region, known)| {
            let key = region.position_key(known.partition(stream));
            let stored = slice.at.iter().find(|(name, _)| *name == key);
            // A log that was made anew shares nothing with what the store has of the old one.
            let after = match stored {
                Some((_, at)) if at.epoch == known.epoch => at.seq,
                _ => 0,
            };
            let asked = self
                .log
                .settled_tail(region, stream, after, TAIL_EVENTS_MAX);
            let read = self.log.registry().of_peer(region, asked).await;
            (region, known.epoch, after, read)
        });
        for (region, epoch, after, read) in join_all(reads).await {
            let read = match read {
                Ok(read) => read,
                Err(error) if region == self.log.region() => return Err(error.into()),
                // Its events are missing, and its place in the position says so.
                Err(_) => continue,
            };
            if !read.complete {
                return Err(HistoryError::Behind);
            }
            let seq = read.last_seq().unwrap_or(after);
            reached.advance(region, Offset { epoch, seq });
            tail.events.extend(read.events);
        }
        Ok((tail, reached))
    }
}

/// Events that the store does not have yet.
#[derive(Default)]
struct Tail {
    events: Vec<Event>,
}

impl Tail {
    fn envelopes(&self) -> impl Iterator<Item = (Envelope<'_>, &Event)> {
        (self.events.iter()).filter_map(|event| Some((event.envelope()?, event)))
    }

    /// Comments taken away.
    fn removed(&self) -> BTreeSet<CommentId> {
        let removed = self.envelopes();
        removed
            .filter_map(|(envelope, _)| envelope.removes())
            .collect()
    }

    /// Both together.
    fn part(&self, slice: Slice, at: Position, page: Page) -> Part {
        let mut part = Part {
            comment_count: slice.comment_count,
            at,
            ..Part::default()
        };
        let removed = self.removed();
        let mut found: BTreeMap<CommentId, Event> = BTreeMap::new();
        let mut decided: BTreeMap<(CommentId, String), Event> = BTreeMap::new();
        let stored = slice.decisions.iter().filter_map(|event| {
            let envelope = event.envelope()?;
            Some(((envelope.target?, envelope.kind.to_owned()), event.clone()))
        });
        decided.extend(stored);
        for (envelope, event) in self.envelopes() {
            if let Some(target) = envelope.target {
                part.comment_count -=
                    u64::from(envelope.kind == kind::REMOVAL && part.comment_count > 0);
                decided.insert((target, envelope.kind.to_owned()), event.clone());
            }
            let Some(comment) = CommentView::read(&envelope) else {
                continue;
            };
            part.comment_count += 1;
            let id = envelope.id;
            if page.before.is_none_or(|before| id < before)
                && page.after.is_none_or(|after| id > after)
                && page.parent.is_none_or(|of| comment.parent_id == Some(of))
            {
                found.insert(id, event.clone());
            }
        }
        part.comments = merge(slice.comments, found, &removed, page);
        let shown: BTreeSet<CommentId> = part.comments.iter().map(|(id, _)| *id).collect();
        decided.retain(|(target, _), _| shown.contains(target));
        part.decisions = decided.into_values().collect();
        part
    }
}

fn merge(
    stored: Vec<(CommentId, Event)>,
    tail: BTreeMap<CommentId, Event>,
    removed: &BTreeSet<CommentId>,
    page: Page,
) -> Vec<(CommentId, Event)> {
    let mut all = stored;
    let known: BTreeSet<CommentId> = all.iter().map(|(id, _)| *id).collect();
    all.extend(tail.into_iter().filter(|(id, _)| !known.contains(id)));
    all.retain(|(id, _)| !removed.contains(id));
    if page.oldest_first {
        all.sort_by_key(|(id, _)| *id);
    } else if !page.top {
        all.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    }
    // By likes the store's order stands: what is only in the log has none yet and comes last.
    all.truncate(page.limit);
    all
}
