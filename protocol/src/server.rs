//! What clients are told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::codes::ReceiptStatus;
use crate::comment::Comment;
use crate::event::CommentUpdate;
use crate::id::{CommentId, StreamId, UserId};
use crate::stream::{Settings, StreamStatus};

/// Running totals by reaction type.
pub type Reactions = BTreeMap<String, u64>;

/// A message to a client: `{"type": …, "payload": {…}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The answer to `join_stream`.
    Joined(Box<Joined>),
    /// New comments, oldest first.
    CommentsBatch {
        /// The stream.
        stream_id: StreamId,
        /// Oldest first.
        comments: Vec<Comment>,
        /// Where the viewer is now.
        resume: String,
    },
    /// Comments taken away.
    CommentsRemoved {
        /// The stream.
        stream_id: StreamId,
        /// Which.
        comment_ids: Vec<CommentId>,
        /// Why.
        reason: String,
    },
    /// A comment is shown otherwise.
    CommentUpdated {
        /// The stream.
        stream_id: StreamId,
        /// Which.
        comment_id: CommentId,
        /// Only what changed.
        #[serde(flatten)]
        update: CommentUpdate,
    },
    /// What became of a post or a moderator's action.
    Receipt(Receipt),
    /// Running totals that changed.
    ReactionsBatch {
        /// The stream.
        stream_id: StreamId,
        /// Only the types that changed.
        counts: Reactions,
        /// Only the comments that changed.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        comments: BTreeMap<String, Reactions>,
    },
    /// How many watch.
    ViewerCount {
        /// The stream.
        stream_id: StreamId,
        /// How many.
        count: u64,
    },
    /// The stream changed.
    StreamUpdated {
        /// The stream.
        stream_id: StreamId,
        /// Its modes, when they changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settings: Option<Settings>,
        /// Whether it is on, when that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<StreamStatus>,
        /// Its title, when that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
    /// Something the viewer should know.
    Notice {
        /// The stream it speaks of; absent in what is said to a user.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream_id: Option<StreamId>,
        /// `sampling`, `slow_mode`, `degraded`, ….
        kind: String,
        /// What belongs to the kind.
        #[serde(flatten)]
        fields: serde_json::Map<String, serde_json::Value>,
    },
    /// The viewer was mentioned.
    Mention {
        /// The stream.
        stream_id: StreamId,
        /// Where.
        comment_id: CommentId,
        /// By whom.
        from: UserId,
    },
    /// A message was not carried out.
    Error(Refusal),
    /// What `ping` carried.
    Pong(serde_json::Value),
}

/// The answer to `join_stream`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The stream.
    pub stream_id: StreamId,
    /// What it is called; servers before this field send none.
    #[serde(default)]
    pub title: String,
    /// Whether it is on.
    #[serde(default)]
    pub status: StreamStatus,
    /// Where the viewer is now.
    pub resume: String,
    /// True when what was missed cannot be replayed.
    pub gap: bool,
    /// The 50 newest, or the first 200 since `resume`; oldest first.
    pub comments: Vec<Comment>,
    /// Taken away since `resume`.
    pub removed: Vec<CommentId>,
    /// The pinned comment's id.
    pub pinned: Option<CommentId>,
    /// Running totals.
    pub reactions: Reactions,
    /// How many watch.
    pub viewer_count: u64,
    /// How many comments there are.
    pub comment_count: u64,
    /// The stream's modes.
    pub settings: Settings,
    /// What the viewer is here: `anonymous`, `user`, `moderator`, `broadcaster`, `admin`.
    pub role: String,
}

/// What became of a post.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The sender's key.
    pub client_id: String,
    /// Known once it is `durable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment_id: Option<CommentId>,
    /// How it stands.
    pub status: ReceiptStatus,
    /// Why it was refused: the name of a [`crate::codes::Reason`], or one of a later version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When trying again makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Why a message was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The name of an [`crate::codes::ErrorCode`], or one of a later version.
    pub code: String,
    /// For people.
    pub message: String,
    /// The key of the message it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The stream it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<StreamId>,
    /// When trying again makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
