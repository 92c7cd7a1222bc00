//! What clients say.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, CommentId, StreamId};

/// A client's message: `{"type": …, "payload": {…}}`. It is read by [`crate::codec::decode_client`], with an [`Echo`] in
/// its ping.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub enum ClientMessage<P = serde_json::Value> {
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
        /// The sender's idempotency key; with one there is a receipt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_id: Option<ClientId>,
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
    Ping(Option<P>),
}

impl<P> ClientMessage<P> {
    /// The same message, with something else in its ping.
    pub fn map_ping<Q>(self, map: impl FnOnce(P) -> Q) -> ClientMessage<Q> {
        match self {
            Self::Authenticate { token } => ClientMessage::Authenticate { token },
            Self::JoinStream { stream_id, resume } => {
                ClientMessage::JoinStream { stream_id, resume }
            }
            Self::LeaveStream { stream_id } => ClientMessage::LeaveStream { stream_id },
            Self::PostComment(post) => ClientMessage::PostComment(post),
            Self::React {
                stream_id,
                reaction_type,
                comment_id,
                count,
            } => ClientMessage::React {
                stream_id,
                reaction_type,
                comment_id,
                count,
            },
            Self::Unreact {
                stream_id,
                comment_id,
                reaction_type,
            } => ClientMessage::Unreact {
                stream_id,
                comment_id,
                reaction_type,
            },
            Self::DeleteComment {
                stream_id,
                comment_id,
                client_id,
            } => ClientMessage::DeleteComment {
                stream_id,
                comment_id,
                client_id,
            },
            Self::Moderate {
                stream_id,
                client_id,
                action,
            } => ClientMessage::Moderate {
                stream_id,
                client_id,
                action,
            },
            Self::Report {
                stream_id,
                comment_id,
                reason,
            } => ClientMessage::Report {
                stream_id,
                comment_id,
                reason,
            },
            Self::Ping(value) => ClientMessage::Ping(value.map(map)),
        }
    }
}

/// What a ping carries, as it lies in the message: one whole value in the connection's encoding. A `pong` gives back the
/// same bytes, so that no number is rounded and nothing is lost that only one of the encodings has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a>(pub &'a [u8]);

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
