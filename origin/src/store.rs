//! The record: what the store must do, and the choice of one by its URL.
//!
//! The log is the buffer: `persist` acknowledges a batch only after [`Store::write`] returned, and reads again from
//! the log what the store does not have. So a store may lose its last commits with the machine's power, as long as
//! rows and position are lost together.

mod sqlite;

use std::path::Path;
use std::sync::Arc;

use chorus_protocol::stream::{StreamInfo, StreamStatus};
use chorus_protocol::{CommentId, Event, Offset, Region, StreamId};
use futures_util::future::BoxFuture;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its URL names no store of ours, or cannot be read.
    #[error("{0}")]
    Url(String),
    /// It was written by a newer version.
    #[error("the store has schema {found}, this version knows {known}")]
    Schema {
        /// The store's.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// Another process has written since: the position is not the one expected.
    #[error("the store's position was moved by another writer")]
    Fenced,
    /// It failed; trying again may help.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// What the store answers with.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

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

/// A group of events, written together with the position they bring the store to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose log.
    pub region: Region,
    /// Where the writer believes the store stands.
    pub from: Option<Offset>,
    /// Where it stands afterwards.
    pub to: Offset,
    /// The events.
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

/// What the store has of a stream, all of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The comments that were not taken away, in the order asked for.
    pub comments: Vec<(CommentId, Event)>,
    /// The decisions that stand about them.
    pub decisions: Vec<Event>,
    /// Comments of the stream in all, less those taken away.
    pub comment_count: u64,
    /// How far each region's log is in the store.
    pub at: Vec<(Region, Offset)>,
}

/// What is known of a comment without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Who wrote it.
    pub user: String,
    /// The event that took it away.
    pub removed_by: Option<CommentId>,
}

/// A stream and its place in the control log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRow {
    /// How it stands.
    pub info: StreamInfo,
    /// The control log's incarnation is not kept: a later word on a stream has a later `seq` or a later status.
    pub seq: u64,
}

/// Which streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamPage {
    /// Only with this status.
    pub status: Option<StreamStatus>,
    /// Only what was created before this one, by (time, id).
    pub before: Option<(u64, String)>,
    /// At most so many.
    pub limit: usize,
}

/// The record of comments and streams. Every call may be repeated.
pub trait Store: Send + Sync {
    /// Writes events and the position they bring the store to, all or nothing.
    ///
    /// A comment that is there by id changes nothing; of two with one key the lower id stays. A removal that comes before
    /// its comment holds.
    fn write(&self, batch: Batch) -> Answer<'_, Written>;
    /// How far a region's log is in the store.
    fn position(&self, region: Region) -> Answer<'_, Option<Offset>>;
    /// Comments of a stream, their number and the store's positions, all of one moment.
    fn comments(&self, stream: StreamId, page: Page) -> Answer<'_, Slice>;
    /// Who wrote a comment, and the id of the event that took it away where there is one. `None`: it is not here.
    fn author(&self, stream: StreamId, comment: CommentId) -> Answer<'_, Option<Author>>;
    /// Writes how a stream stands, unless a newer word is there.
    fn write_stream(&self, row: StreamRow) -> Answer<'_, ()>;
    /// How a stream stands.
    fn stream(&self, stream: StreamId) -> Answer<'_, Option<StreamInfo>>;
    /// Streams, newest first.
    fn streams(&self, page: StreamPage) -> Answer<'_, Vec<StreamInfo>>;
}

/// The directory of this machine that the store of a URL is in; `None` for one that is elsewhere.
#[must_use]
pub fn directory(url: &str) -> Option<&Path> {
    Path::new(url.strip_prefix("sqlite://")?).parent()
}

/// Opens the store a URL names.
///
/// # Errors
/// When the scheme is not known, or the store cannot be opened.
pub fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    match url.split_once("://") {
        Some(("sqlite", path)) => Ok(Arc::new(sqlite::Sqlite::open(path)?)),
        Some((scheme, _)) => Err(StoreError::Url(format!(
            "no store is called `{scheme}`; known is: sqlite"
        ))),
        None => Err(StoreError::Url(format!("`{url}` is not a store's URL"))),
    }
}
