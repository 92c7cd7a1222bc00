//! The record of comments and of what was decided about them.

use std::collections::BTreeMap;

use chorus_protocol::{CommentId, Event, Offset, Region, StreamId};

use super::Answer;

/// How far logs are in the store, by [`position_key`].
pub type Positions = BTreeMap<String, Offset>;

/// Under which key a store keeps how far a partition of a region is written: `eu` for the first, `eu/1` for the next.
#[must_use]
pub fn position_key(region: &Region, partition: u16) -> String {
    match partition {
        0 => region.to_string(),
        _ => format!("{region}/{partition}"),
    }
}

/// An event as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A comment.
    Comment {
        /// Its id.
        id: CommentId,
        /// Its stream.
        stream: StreamId,
        /// Who wrote it.
        user: String,
        /// The log's message id: the same for every try of it.
        key: u128,
        /// The comment it answers.
        parent: Option<CommentId>,
        /// The event, as the log holds it.
        event: Event,
    },
    /// What was decided about a comment: of one kind the highest id stands. A removal takes the comment's text away.
    Decision {
        /// Its event's id.
        id: CommentId,
        /// See [`chorus_protocol::event::kind`].
        kind: String,
        /// Its stream.
        stream: StreamId,
        /// The comment it is about.
        target: CommentId,
        /// The event, as the log holds it.
        event: Event,
    },
}

/// A group of events of one log, and the position they bring the store to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Which one, by [`position_key`].
    pub log: String,
    /// Where the writer believes the store stands.
    pub from: Option<Offset>,
    /// Where it stands afterwards.
    pub to: Offset,
    /// The events in `(from, to]`, in the log's order.
    pub rows: Vec<Row>,
}

/// How a batch went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Events that were new.
    pub new: u64,
    /// Events that were there already, by id or by key.
    pub repeats: u64,
}

/// Which comments of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Only lower ids.
    pub before: Option<CommentId>,
    /// Only higher ids.
    pub after: Option<CommentId>,
    /// The lowest ids first instead of the highest.
    pub oldest_first: bool,
    /// By likes, then id, instead of by id.
    pub top: bool,
    /// Only answers to this comment.
    pub parent: Option<CommentId>,
    /// At most so many.
    pub limit: usize,
}

impl Page {
    /// Whether a comment belongs to what the page is a part of.
    #[must_use]
    pub fn includes(&self, id: CommentId, parent: Option<CommentId>) -> bool {
        self.before.is_none_or(|before| id < before)
            && self.after.is_none_or(|after| id > after)
            && self.parent.is_none_or(|of| parent == Some(of))
    }
}

/// What the store has of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The comments that were not taken away, in the order asked for.
    pub comments: Vec<(CommentId, Event)>,
    /// The decisions that stand about them.
    pub decisions: Vec<Event>,
    /// How many comments the stream has.
    pub count: Count,
}

/// A stream's comments less those taken away, and what of each log is in that number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Below 0 while a removal is there before its comment.
    pub comments: i64,
    /// All events of the stream up to here are counted, and none after.
    pub up_to: Positions,
}

impl Count {
    /// Whether an event of a log is in the number.
    #[must_use]
    pub fn includes(&self, log: &str, event: &Event) -> bool {
        let up_to = self.up_to.get(log);
        up_to.is_some_and(|up_to| (event.epoch, event.seq) <= (up_to.epoch, up_to.seq))
    }
}

/// What is known of a comment without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Who wrote it.
    pub user: String,
    /// The event that took it away.
    pub removed_by: Option<CommentId>,
}

/// The record of comments. Every call may be repeated.
///
/// Nothing needs "all of one moment". A batch is written in this order, and may end after any part of it:
///
/// 1. its rows. A row is the same however often it is written;
/// 2. the counts of its streams, each with the positions up to which it counts. A count never goes back, and an event
///    that is in it is not counted again, whatever batch it comes in;
/// 3. its position, which must still be the one it began at.
///
/// So who reads a position **first** and then rows and counts sees at least what the position says, and perhaps more;
/// what is more is after the position in the log too, and [`Count::includes`] says whether it is counted.
pub trait Comments: Send + Sync {
    /// Writes events and the position they bring the store to. What ended in the middle is written again, in the same
    /// batch or in others that begin at the same position.
    ///
    /// A comment that is there by id changes nothing; of two with one key the lower id stays. A removal that comes before
    /// its comment holds.
    ///
    /// # Errors
    /// [`super::StoreError::Fenced`] when the store does not stand where the batch begins, or no longer.
    fn write(&self, batch: Batch) -> Answer<'_, Written>;
    /// How far all logs are in the store.
    fn positions(&self) -> Answer<'_, Positions>;
    /// Comments of a stream and their number.
    fn page(&self, stream: StreamId, page: Page) -> Answer<'_, Slice>;
    /// The decisions that stand about these comments, whether the comments are here or not: those of another region's log
    /// may come first.
    fn decisions(&self, comments: Vec<CommentId>) -> Answer<'_, Vec<Event>>;
    /// Who wrote a comment, and the id of the event that took it away where there is one. `None`: it is not here.
    fn author(&self, stream: StreamId, comment: CommentId) -> Answer<'_, Option<Author>>;
}
