//! A comment as viewers see it, and as the log holds it.

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, CommentId, StreamId, UserId};
use crate::time::Millis;

/// A comment as viewers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// Its id; sorting by it sorts by time.
    pub id: CommentId,
    /// The broadcast it belongs to.
    pub stream_id: StreamId,
    /// Who wrote it.
    pub user_id: UserId,
    /// The name shown.
    pub username: String,
    /// 1 to 500 Unicode scalar values, trimmed.
    pub content: String,
    /// When the PoP took it.
    pub created_at_ms: Millis,
    /// The comment it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<CommentId>,
    /// Usernames it mentions, without the `@`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// Where in the video it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_ms: Option<u64>,
    /// Highlighted by a moderator.
    #[serde(default, skip_serializing_if = "is_false")]
    pub highlighted: bool,
    /// Pinned by a moderator.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pinned: bool,
    /// How many like it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub likes: u64,
    /// What its author is here: `broadcaster`, `moderator`, `admin`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub badges: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// One message of the comment log: MessagePack with named fields, so that fields may be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommentRecord {
    /// The comment.
    pub comment: Comment,
    /// The sender's idempotency key.
    pub client_id: ClientId,
}

/// The log's message id of a post: the same for every try of the same (stream, user, `client_id`).
#[must_use]
pub fn post_key(stream: &StreamId, user: &UserId, client_id: &ClientId) -> u128 {
    let mut bytes = Vec::with_capacity(256);
    for part in [stream.as_str(), user.as_str(), client_id.as_str()] {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    xxhash_rust::xxh3::xxh3_128(&bytes)
}
