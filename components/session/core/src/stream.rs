//! What a shard knows of a stream.

pub(crate) mod batch;
mod counts;
pub(crate) mod decided;
pub(crate) mod live;
pub(crate) mod missed;
pub(crate) mod recent;
pub(crate) mod removed;
pub(crate) mod resume;
pub(crate) mod updates;

use chorus_protocol::{Millis, Position, StreamId};
use serde::{Deserialize, Serialize};

use crate::io::ConnectionId;
use live::Live;

/// A stream that somebody here asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    /// `None` until the host has said how it stands.
    #[serde(default)]
    pub(crate) live: Option<Box<Live>>,
    /// Joins not answered because the stream is not live.
    #[serde(default)]
    pub(crate) waiting: Vec<Waiter>,
    /// Memberships of every phase.
    #[serde(default)]
    pub(crate) present: u32,
    /// Members by encoding.
    #[serde(default)]
    pub(crate) members: [u32; 2],
    /// Since when nobody is present.
    #[serde(default)]
    pub(crate) empty_since: Option<Millis>,
    /// Viewers as the host was told last, and when.
    #[serde(default)]
    pub(crate) viewers_told: u64,
    #[serde(default)]
    pub(crate) viewers_told_at: Millis,
}

/// A connection that waits to become a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiter {
    pub(crate) connection: ConnectionId,
    pub(crate) ticket: u32,
    pub(crate) resume: Resume,
}

/// Where a viewer says it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Resume {
    /// Nowhere.
    Fresh,
    /// It brought a token that is none of ours.
    Unreadable,
    /// Here.
    From(Position),
}

impl Resume {
    pub(crate) fn read(token: Option<&str>) -> Self {
        match token {
            None => Self::Fresh,
            Some(token) => Position::from_token(token).map_or(Self::Unreadable, Self::From),
        }
    }
}

impl Stream {
    pub(crate) fn new(id: StreamId) -> Self {
        Self {
            id,
            live: None,
            waiting: Vec::new(),
            present: 0,
            members: [0; 2],
            empty_since: None,
            viewers_told: 0,
            viewers_told_at: Millis(0),
        }
    }

    pub(crate) fn members_count(&self) -> u64 {
        u64::from(self.members[0]) + u64::from(self.members[1])
    }
}
