//! The record of streams: how each stands.

use chorus_protocol::StreamId;
use chorus_protocol::stream::{StreamInfo, StreamStatus};

use super::Answer;

/// A stream and its place in the control log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRow {
    /// How it stands.
    pub info: StreamInfo,
    /// The control log's incarnation is not kept: a later word on a stream has a later `seq`, or is of a stream that was
    /// created later.
    pub seq: u64,
}

impl StreamRow {
    /// Whether it stands against what is there.
    #[must_use]
    pub fn replaces(&self, known: &Self) -> bool {
        self.seq > known.seq || self.info.created_at_ms > known.info.created_at_ms
    }
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

/// The record of streams. Every call may be repeated; each row stands for itself.
pub trait Streams: Send + Sync {
    /// Writes how a stream stands, unless a newer word is there.
    fn write(&self, row: StreamRow) -> Answer<'_, ()>;
    /// How a stream stands.
    fn read(&self, stream: StreamId) -> Answer<'_, Option<StreamInfo>>;
    /// Streams, newest first.
    fn list(&self, page: StreamPage) -> Answer<'_, Vec<StreamInfo>>;
}
