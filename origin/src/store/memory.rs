//! A store in memory that does no more than [`Comments`] demands: the twin of the others in tests.
//!
//! A batch is written in steps, one row, count or position each, and others have their turn in between; it can be made
//! to end after any of them. A table's row is changed as a whole and compared before it is, as a wide-column store can.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use chorus_protocol::event::kind;
use chorus_protocol::stream::StreamInfo;
use chorus_protocol::{CommentId, Event, Offset, StreamId};

use super::{
    Answer, Author, Batch, Comments, Count, Page, Positions, Row, Slice, StoreError, StreamPage,
    StreamRow, Streams, Written, failed,
};
use crate::lock::lock;

/// The store. What is written is gone with it.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    comments: BTreeMap<CommentId, Comment>,
    /// By message id: the comment, and which event wrote it first.
    keys: HashMap<u128, (CommentId, Place)>,
    decisions: BTreeMap<(CommentId, String), Decision>,
    counts: HashMap<StreamId, Count>,
    positions: Positions,
    streams: HashMap<StreamId, StreamRow>,
    /// `None`: any number.
    steps_left: Option<usize>,
}

/// Where in a log an event is: region, epoch, sequence.
type Place = (String, u64, u64);

#[derive(Debug)]
struct Comment {
    stream: StreamId,
    user: String,
    key: u128,
    parent: Option<CommentId>,
    event: Event,
}

#[derive(Debug)]
struct Decision {
    id: CommentId,
    event: Event,
    /// Which event was the first of its kind about this comment.
    first: Place,
}

impl Memory {
    /// Lets writing go on for so many steps, `None`: for good. The next one fails, and all after it.
    pub fn stop_after(&self, steps: Option<usize>) {
        lock(&self.0).steps_left = steps;
    }

    /// One step of a batch, and before it a turn of the others.
    async fn step<T>(&self, change: impl FnOnce(&mut Tables) -> T) -> Result<T, StoreError> {
        tokio::task::yield_now().await;
        let mut tables = lock(&self.0);
        if let Some(left) = &mut tables.steps_left {
            *left = left.checked_sub(1).ok_or_else(|| failed("stopped"))?;
        }
        Ok(change(&mut tables))
    }

    async fn write_batch(&self, batch: Batch) -> Result<Written, StoreError> {
        let stands = |tables: &Tables| tables.positions.get(&batch.log).copied() == batch.from;
        if !stands(&lock(&self.0)) {
            return Err(StoreError::Fenced);
        }
        let mut written = Written::default();
        for row in &batch.rows {
            if self.write_row(row).await? {
                written.new += 1;
            } else {
                written.repeats += 1;
            }
        }
        let mut streams: BTreeMap<&StreamId, Vec<&Row>> = BTreeMap::new();
        for row in &batch.rows {
            streams.entry(stream_of(row)).or_default().push(row);
        }
        for (stream, rows) in streams {
            self.step(|tables| tables.count(&batch.log, batch.to, stream, &rows))
                .await?;
        }
        let moved = self.step(|tables| {
            let stands = stands(tables);
            if stands {
                tables.positions.insert(batch.log.clone(), batch.to);
            }
            stands
        });
        if moved.await? {
            Ok(written)
        } else {
            Err(StoreError::Fenced)
        }
    }

    /// Writes an event's rows; true when this event is the one that wrote them first.
    async fn write_row(&self, row: &Row) -> Result<bool, StoreError> {
        match row {
            Row::Comment {
                id,
                stream,
                user,
                key,
                parent,
                event,
            } => {
                let before = self.step(|tables| tables.claim(*key, *id, event)).await?;
                let comment = Comment {
                    stream: stream.clone(),
                    user: user.clone(),
                    key: *key,
                    parent: *parent,
                    event: event.clone(),
                };
                self.step(|tables| tables.insert(*id, comment)).await?;
                Ok(before.is_none_or(|first| first == place(event)))
            }
            Row::Decision {
                id,
                kind,
                target,
                event,
                ..
            } => {
                let decided = self.step(|tables| tables.decide((*target, kind), *id, event));
                let first = decided.await?;
                if kind == kind::REMOVAL {
                    self.step(|tables| {
                        if let Some(comment) = tables.comments.get_mut(target) {
                            comment.event.body.clear();
                        }
                    })
                    .await?;
                }
                Ok(first)
            }
        }
    }
}

impl Tables {
    /// Takes a key for a comment; which event had it before.
    fn claim(&mut self, key: u128, id: CommentId, event: &Event) -> Option<Place> {
        let Some((known, first)) = self.keys.get(&key) else {
            self.keys.insert(key, (id, place(event)));
            return None;
        };
        let (known, first) = (*known, first.clone());
        if id < known && self.removed_by(known).is_none() {
            self.keys.insert(key, (id, first.clone()));
        }
        Some(first)
    }

    /// Writes the comment that its key belongs to; it replaces another one of that key.
    fn insert(&mut self, id: CommentId, mut comment: Comment) {
        let key = comment.key;
        if self.keys.get(&key).is_none_or(|(owner, _)| *owner != id) {
            return;
        }
        if self.removed_by(id).is_some() {
            comment.event.body.clear();
        }
        self.comments.retain(|at, it| *at == id || it.key != key);
        self.comments.entry(id).or_insert(comment);
    }

    /// Writes a decision unless a later one of its kind stands; true when its event was the first.
    fn decide(&mut self, about: (CommentId, &str), id: CommentId, event: &Event) -> bool {
        let about = (about.0, about.1.to_owned());
        let first = self.decisions.get(&about).map(|known| known.first.clone());
        let first = first.unwrap_or_else(|| place(event));
        let new = first == place(event);
        if self.decisions.get(&about).is_none_or(|known| known.id < id) {
            let event = event.clone();
            self.decisions.insert(about, Decision { id, event, first });
        }
        new
    }

    /// Counts what is not counted yet: an event counts when it was the first to write its row.
    fn count(&mut self, log: &str, to: Offset, stream: &StreamId, rows: &[&Row]) {
        let mut count = self.counts.get(stream).cloned().unwrap_or_default();
        for row in rows {
            let (by, first, event) = match row {
                Row::Comment { key, event, .. } => {
                    (1, self.keys.get(key).map(|(_, first)| first), event)
                }
                Row::Decision {
                    kind,
                    target,
                    event,
                    ..
                } if kind == kind::REMOVAL => {
                    let decision = self.decisions.get(&(*target, kind.clone()));
                    (-1, decision.map(|decision| &decision.first), event)
                }
                Row::Decision { .. } => continue,
            };
            if !count.includes(log, event) && first == Some(&place(event)) {
                count.comments += by;
            }
        }
        let up_to = count.up_to.entry(log.to_owned()).or_insert(to);
        if (up_to.epoch, up_to.seq) < (to.epoch, to.seq) {
            *up_to = to;
        }
        self.counts.insert(stream.clone(), count);
    }

    fn removed_by(&self, comment: CommentId) -> Option<CommentId> {
        let removal = self.decisions.get(&(comment, kind::REMOVAL.to_owned()));
        removal.map(|removal| removal.id)
    }

    fn page(&self, stream: &StreamId, page: &Page) -> Slice {
        let comments = self.comments.iter().filter(|(id, comment)| {
            comment.stream == *stream
                && self.removed_by(**id).is_none()
                && page.includes(**id, comment.parent)
        });
        let mut comments: Vec<_> = comments
            .map(|(id, comment)| (*id, comment.event.clone()))
            .collect();
        // Nothing has likes yet.
        if page.top || !page.oldest_first {
            comments.reverse();
        }
        comments.truncate(page.limit);
        Slice {
            decisions: self.decisions(comments.iter().map(|(id, _)| *id)),
            comments,
            count: self.counts.get(stream).cloned().unwrap_or_default(),
        }
    }

    fn decisions(&self, comments: impl Iterator<Item = CommentId>) -> Vec<Event> {
        let of = |id: CommentId| {
            let from = self.decisions.range((id, String::new())..);
            from.take_while(move |((about, _), _)| *about == id)
        };
        let decisions = comments.flat_map(of);
        decisions
            .map(|(_, decision)| decision.event.clone())
            .collect()
    }

    fn author(&self, stream: &StreamId, comment: CommentId) -> Option<Author> {
        let found = self.comments.get(&comment)?;
        (found.stream == *stream).then(|| Author {
            user: found.user.clone(),
            removed_by: self.removed_by(comment),
        })
    }

    fn list(&self, page: &StreamPage) -> Vec<StreamInfo> {
        let place = |info: &StreamInfo| (info.created_at_ms.0, info.stream_id.as_str().to_owned());
        let streams = self.streams.values().map(|row| &row.info).filter(|info| {
            page.status.is_none_or(|status| info.status == status)
                && page.before.as_ref().is_none_or(|at| place(info) < *at)
        });
        let mut streams: Vec<StreamInfo> = streams.cloned().collect();
        streams.sort_by_key(|info| std::cmp::Reverse(place(info)));
        streams.truncate(page.limit);
        streams
    }
}

impl Comments for Memory {
    fn write(&self, batch: Batch) -> Answer<'_, Written> {
        Box::pin(self.write_batch(batch))
    }

    fn positions(&self) -> Answer<'_, Positions> {
        Box::pin(async { Ok(lock(&self.0).positions.clone()) })
    }

    fn page(&self, stream: StreamId, page: Page) -> Answer<'_, Slice> {
        Box::pin(async move { Ok(lock(&self.0).page(&stream, &page)) })
    }

    fn decisions(&self, comments: Vec<CommentId>) -> Answer<'_, Vec<Event>> {
        Box::pin(async move { Ok(lock(&self.0).decisions(comments.into_iter())) })
    }

    fn author(&self, stream: StreamId, comment: CommentId) -> Answer<'_, Option<Author>> {
        Box::pin(async move { Ok(lock(&self.0).author(&stream, comment)) })
    }
}

impl Streams for Memory {
    fn write(&self, row: StreamRow) -> Answer<'_, ()> {
        Box::pin(self.step(move |tables| {
            let stream = row.info.stream_id.clone();
            if tables
                .streams
                .get(&stream)
                .is_none_or(|known| row.replaces(known))
            {
                tables.streams.insert(stream, row);
            }
        }))
    }

    fn read(&self, stream: StreamId) -> Answer<'_, Option<StreamInfo>> {
        Box::pin(async move {
            let tables = lock(&self.0);
            Ok(tables.streams.get(&stream).map(|row| row.info.clone()))
        })
    }

    fn list(&self, page: StreamPage) -> Answer<'_, Vec<StreamInfo>> {
        Box::pin(async move { Ok(lock(&self.0).list(&page)) })
    }
}

fn stream_of(row: &Row) -> &StreamId {
    match row {
        Row::Comment { stream, .. } | Row::Decision { stream, .. } => stream,
    }
}

fn place(event: &Event) -> Place {
    (event.region.as_str().to_owned(), event.epoch, event.seq)
}
