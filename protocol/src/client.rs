//! What clients say.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, CommentId, StreamId};

/// A client's message: `{"type": …, "payload": {…}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub enum ClientMessage {
    /// Who the viewer is, or still is.
    Authenticate {
        /// A JWT.
        token: String,
    },
    /// Watch a stream.
    JoinStream {
        /// Which.
        stream_id: StreamId,
        /// Where the viewer was: opaque, from `joined` or `comments_batch`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<String>,
    },
    /// Stop watching it.
    LeaveStream {
        /// Which.
        stream_id: StreamId,
    },
    /// Write a comment.
    PostComment(PostComment),
    /// React to a stream or a comment.
    React {
        /// The stream.
        stream_id: StreamId,
        /// `like love haha wow sad angry`, or an emote of the stream.
        reaction_type: String,
        /// A comment of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment_id: Option<CommentId>,
        /// 1 to 20, stream reactions only; 1 when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u32>,
    },
    /// Take back a reaction to a comment.
    Unreact {
        /// The stream.
        stream_id: StreamId,
        /// The comment.
        comment_id: CommentId,
        /// Which reaction.
        reaction_type: String,
    },
    /// Take a comment away.
    DeleteComment {
        /// The stream.
        stream_id: StreamId,
        /// The comment.
        comment_id: CommentId,
    },
    /// Act as a moderator.
    Moderate {
        /// The stream.
        stream_id: StreamId,
        /// The sender's idempotency key.
        client_id: ClientId,
        /// What to do.
        action: String,
    },
    /// Tell the moderators of a comment.
    Report {
        /// The stream.
        stream_id: StreamId,
        /// The comment.
        comment_id: CommentId,
        /// Why.
        reason: String,
    },
    /// Anything; it comes back in `pong`.
    Ping(Option<serde_json::Value>),
}

/// A comment to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostComment {
    /// The stream.
    pub stream_id: StreamId,
    /// The sender's idempotency key.
    pub client_id: ClientId,
    /// 1 to 500 Unicode scalar values after trimming.
    pub content: String,
    /// The comment it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<CommentId>,
    /// Where in the video it was written, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_ms: Option<u64>,
}

/// A [`PostComment`] whose texts lie elsewhere; the ids were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostView<'a> {
    /// A [`StreamId`].
    pub stream_id: &'a str,
    /// A [`ClientId`].
    pub client_id: &'a str,
    /// Not checked.
    pub content: Cow<'a, str>,
    /// The comment it answers.
    pub parent_id: Option<CommentId>,
    /// Where in the video it was written, in milliseconds.
    pub media_ms: Option<u64>,
}

impl<'a> From<&'a PostComment> for PostView<'a> {
    fn from(post: &'a PostComment) -> Self {
        Self {
            stream_id: post.stream_id.as_str(),
            client_id: post.client_id.as_str(),
            content: Cow::Borrowed(&post.content),
            parent_id: post.parent_id,
            media_ms: post.media_ms,
        }
    }
}

/// A [`ClientMessage::React`] to a stream, whose texts lie elsewhere; the stream's id was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReactView<'a> {
    /// A [`StreamId`].
    pub stream_id: &'a str,
    /// Not checked.
    pub reaction_type: &'a str,
    /// 1 when absent; not checked.
    pub count: Option<u32>,
}
