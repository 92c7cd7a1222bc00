//! A comment as viewers see it, and as the log holds it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

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

/// A [`Comment`] whose texts lie in its record, with the same fields in the same order; `stream_id` and `user_id` are
/// not checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CommentView<'a> {
    /// Its id; sorting by it sorts by time.
    pub id: CommentId,
    /// The broadcast it belongs to.
    #[serde(borrow, deserialize_with = "text")]
    pub stream_id: &'a str,
    /// Who wrote it.
    #[serde(borrow, deserialize_with = "text")]
    pub user_id: &'a str,
    /// The name shown.
    pub username: &'a str,
    /// What was written.
    pub content: &'a str,
    /// When the PoP took it.
    pub created_at_ms: Millis,
    /// The comment it answers.
    #[serde(default)]
    pub parent_id: Option<CommentId>,
    /// Usernames it mentions, without the `@`.
    #[serde(default, borrow)]
    pub mentions: Vec<&'a str>,
    /// Where in the video it was written.
    #[serde(default)]
    pub media_ms: Option<u64>,
    /// Highlighted by a moderator.
    #[serde(default)]
    pub highlighted: bool,
    /// Pinned by a moderator.
    #[serde(default)]
    pub pinned: bool,
    /// How many like it.
    #[serde(default)]
    pub likes: u64,
    /// What its author is here.
    #[serde(default, borrow)]
    pub badges: Vec<&'a str>,
}

/// A text and nothing else: a `&str` would be read of bytes too, an id is not.
fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<&'a str, D::Error> {
    struct Visitor;
    impl<'de> de::Visitor<'de> for Visitor {
        type Value = &'de str;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<&'de str, E> {
            Ok(text)
        }
    }
    deserializer.deserialize_str(Visitor)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn comment() -> Comment {
        Comment {
            id: CommentId(9_000_000_000),
            stream_id: "demo".parse().expect("a stream"),
            user_id: "user 1".parse().expect("a user"),
            username: "Zoë".to_owned(),
            content: "so true".to_owned(),
            created_at_ms: Millis(1_800_000_000_000),
            parent_id: Some(CommentId(300)),
            mentions: vec!["ann".to_owned(), "bob".to_owned()],
            media_ms: Some(70_000),
            highlighted: true,
            pinned: true,
            likes: 3,
            badges: vec!["moderator".to_owned()],
        }
    }

    fn view(comment: &Comment) -> CommentView<'_> {
        CommentView {
            id: comment.id,
            stream_id: comment.stream_id.as_str(),
            user_id: comment.user_id.as_str(),
            username: &comment.username,
            content: &comment.content,
            created_at_ms: comment.created_at_ms,
            parent_id: comment.parent_id,
            mentions: comment.mentions.iter().map(String::as_str).collect(),
            media_ms: comment.media_ms,
            highlighted: comment.highlighted,
            pinned: comment.pinned,
            likes: comment.likes,
            badges: comment.badges.iter().map(String::as_str).collect(),
        }
    }

    #[test]
    fn a_view_reads_what_a_comment_is_written_as() {
        let full = comment();
        let short = Comment {
            parent_id: None,
            mentions: vec![],
            media_ms: None,
            highlighted: false,
            pinned: false,
            likes: 0,
            badges: vec![],
            ..comment()
        };
        let unnamed = rmp_serde::to_vec(&full).expect("writes");
        let read: CommentView<'_> = rmp_serde::from_slice(&unnamed).expect("reads");
        assert_eq!(read, view(&full));
        for comment in [&full, &short] {
            let named = rmp_serde::to_vec_named(comment).expect("writes");
            let read: CommentView<'_> = rmp_serde::from_slice(&named).expect("reads");
            assert_eq!(read, view(comment));
        }
    }
}
