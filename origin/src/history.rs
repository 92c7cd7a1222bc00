//! History: the store and the log's tail as one, so that what is `durable` can be read at once.
//!
//! The store's position is read first, then its rows, then the log after that position: an event is in the store before
//! the position says so, so none is missed between the two. One that is in both is shown and counted once. Of another
//! region the log is this one's mirror, up to where it got; of one that is away and has no mirror only the store speaks,
//! and the position leaves it out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chorus_protocol::event::{CommentUpdate, Decision};
use chorus_protocol::{
    Comment, CommentId, CommentView, Envelope, Event, Offset, Position, StreamId,
};
use futures_util::future::join_all;

use crate::log::{Log, LogError};
use crate::store::{Author, Comments, Page, Positions, Slice, StoreError, position_key};

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
    /// The decisions that stand about them, and the removals that the logs have and the store had not: the comment of one
    /// may be of a region whose log is behind.
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
    comments: Arc<dyn Comments>,
}

impl History {
    /// Over a log and a store.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, comments: Arc<dyn Comments>) -> Self {
        Self { log, comments }
    }

    /// A page of a stream's comments, with their number and the position.
    ///
    /// # Errors
    /// When the log or the store is away.
    pub async fn read(&self, stream: &StreamId, page: Page) -> Result<Part, HistoryError> {
        let stored = self.comments.positions().await?;
        let mut slice = self.comments.page(stream.clone(), page).await?;
        let (tail, at) = self.tail(stream, &stored).await?;
        decide_tail(&*self.comments, &stored, &tail, &mut slice).await?;
        let gone = tail.removed();
        let hit = slice.comments.iter().filter(|(id, _)| gone.contains(id));
        let hit = hit.count();
        // What is taken away in the tail leaves room on the page.
        if hit > 0 && page.limit > 0 {
            let wider = Page {
                limit: page.limit + hit,
                ..page
            };
            let wider = self.comments.page(stream.clone(), wider).await?;
            // Its count may be of more than the tail has.
            slice = Slice {
                count: slice.count,
                decisions: [wider.decisions, slice.decisions].concat(),
                ..wider
            };
        }
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
        let stored = self.comments.positions().await?;
        let mut found = self.comments.author(stream.clone(), comment).await?;
        let (tail, _) = self.tail(stream, &stored).await?;
        let mut only_in_tail = false;
        for (_, envelope, _) in tail.envelopes() {
            if envelope.id == comment && envelope.is_comment() && found.is_none() {
                found = Some(Author {
                    user: envelope.author.to_owned(),
                    removed_by: None,
                });
                only_in_tail = true;
            }
            if envelope.removes() == Some(comment)
                && let Some(found) = &mut found
            {
                found.removed_by = Some(envelope.id);
            }
        }
        if only_in_tail && let Some(found) = &mut found {
            let decided = self.comments.decisions(vec![comment]).await?;
            let mut decided = decided.iter().filter_map(Event::envelope);
            let removal = decided.find(|it| it.removes().is_some());
            found.removed_by = found.removed_by.or(removal.map(|it| it.id));
        }
        Ok(found)
    }

    /// What the logs that can be read hold after the store's positions, and up to where.
    async fn tail(
        &self,
        stream: &StreamId,
        stored: &Positions,
    ) -> Result<(Tail, Position), HistoryError> {
        let mut tail = Tail::default();
        let mut reached = Position::default();
        let regions = self.log.regions();
        let reads = regions.iter().map(async |(region, known)| {
            let key = position_key(region, known.partition(stream));
            // A log that was made anew shares nothing with what the store has of the old one.
            let after = match stored.get(&key) {
                Some(at) if at.epoch == known.epoch => at.seq,
                _ => 0,
            };
            let asked = self.log.tail(region, stream, after, TAIL_EVENTS_MAX);
            let read = self.log.registry().of_peer(region, asked).await;
            (region, key, known.epoch, after, read)
        });
        for (region, key, epoch, after, read) in join_all(reads).await {
            let read = match read {
                Ok(read) => read,
                Err(error) if region == self.log.region() => return Err(error.into()),
                // Its events are missing, and its place in the position says so.
                Err(_) => continue,
            };
            if !read.complete {
                return Err(HistoryError::Behind);
            }
            if read.events.iter().any(|event| event.epoch != epoch) {
                // The log was made anew in between.
                continue;
            }
            let seq = read.last_seq().unwrap_or(after);
            reached.advance(region, Offset { epoch, seq });
            tail.0.insert(key, read.events);
        }
        Ok((tail, reached))
    }
}

/// Adds what the store has of decisions about comments that only the logs have: logs of several regions come to the store
/// in any order.
async fn decide_tail(
    store: &dyn Comments,
    stored: &Positions,
    tail: &Tail,
    slice: &mut Slice,
) -> Result<(), StoreError> {
    // What a comment's own log decides about it comes to the store behind it.
    let others = |log: &str| stored.keys().any(|of| of != log);
    let comments = tail.envelopes();
    let comments = comments.filter(|(log, it, _)| it.is_comment() && others(log));
    let comments: Vec<CommentId> = comments.map(|(_, it, _)| it.id).collect();
    if !comments.is_empty() {
        let more = store.decisions(comments).await?;
        slice.decisions.extend(more);
    }
    Ok(())
}

/// A stream's events after the store's positions, by the key of the position and in the log's order. The store may have
/// some of them already.
#[derive(Default)]
struct Tail(BTreeMap<String, Vec<Event>>);

impl Tail {
    fn envelopes(&self) -> impl Iterator<Item = (&str, Envelope<'_>, &Event)> {
        let logs = self.0.iter();
        logs.flat_map(|(log, events)| {
            (events.iter()).filter_map(move |event| Some((log.as_str(), event.envelope()?, event)))
        })
    }

    /// Comments taken away.
    fn removed(&self) -> BTreeSet<CommentId> {
        let removed = self.envelopes();
        removed
            .filter_map(|(_, envelope, _)| envelope.removes())
            .collect()
    }

    /// Both together.
    fn part(&self, slice: Slice, at: Position, page: Page) -> Part {
        let mut count = slice.count.comments;
        let mut keys = BTreeSet::new();
        let mut found: BTreeMap<CommentId, Event> = BTreeMap::new();
        let mut decided = Decided::default();
        let mut removed = self.removed();
        for event in &slice.decisions {
            if let Some(envelope) = event.envelope() {
                decided.insert(&envelope, event);
                removed.extend(envelope.removes());
            }
        }
        for (log, envelope, event) in self.envelopes() {
            let counts = keys.insert(envelope.key) && !slice.count.includes(log, event);
            decided.insert(&envelope, event);
            if envelope.removes().is_some() {
                count -= i64::from(counts);
            }
            if let Some(comment) = CommentView::read(&envelope) {
                count += i64::from(counts);
                if page.includes(envelope.id, comment.parent_id) {
                    found.insert(envelope.id, event.clone());
                }
            }
        }
        let comments = merge(slice.comments, found, &removed, page);
        let shown: BTreeSet<CommentId> = comments.iter().map(|(id, _)| *id).collect();
        let removals = self.envelopes().filter(|(_, it, _)| it.removes().is_some());
        let mut decisions = decided.about(&shown);
        decisions.extend(removals.map(|(_, _, event)| event.clone()));
        Part {
            decisions,
            comments,
            comment_count: u64::try_from(count).unwrap_or(0),
            at,
        }
    }
}

/// Of each kind about each comment the decision with the highest id.
#[derive(Default)]
struct Decided(BTreeMap<(CommentId, String), (CommentId, Event)>);

impl Decided {
    fn insert(&mut self, envelope: &Envelope<'_>, event: &Event) {
        let Some(target) = envelope.target else {
            return;
        };
        let about = (target, envelope.kind.to_owned());
        if self.0.get(&about).is_none_or(|(id, _)| *id < envelope.id) {
            self.0.insert(about, (envelope.id, event.clone()));
        }
    }

    fn about(self, shown: &BTreeSet<CommentId>) -> Vec<Event> {
        let stands = self.0.into_iter();
        stands
            .filter(|((target, _), _)| shown.contains(target))
            .map(|(_, (_, event))| event)
            .collect()
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

#[cfg(test)]
mod tests;
