//! What clients say.

use std::borrow::Cow;

use serde::Serialize;

use crate::codec::{Fields, ReadError};
use crate::id::{ClientId, CommentId, StreamId};

/// A client's message, as a client of ours writes it: `{"type": …, "payload": {…}}`. A server reads it as
/// [`crate::codec::Incoming`].
#[derive(Clone, Debug, PartialEq, Serialize)]
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
        #[serde(skip_serializing_if = "Option::is_none")]
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
    React(React),
    /// Take a comment away.
    DeleteComment {
        /// The stream.
        stream_id: StreamId,
        /// The comment.
        comment_id: CommentId,
        /// The sender's idempotency key; with one there is a receipt.
        #[serde(skip_serializing_if = "Option::is_none")]
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
        /// The comment it is about.
        #[serde(skip_serializing_if = "Option::is_none")]
        comment_id: Option<CommentId>,
    },
    /// Anything; it comes back in `pong`.
    Ping(Option<serde_json::Value>),
}

/// What a ping carries, as it lies in the message: one whole value in the connection's encoding. A `pong` gives back the
/// same bytes, so that no number is rounded and nothing is lost that only one of the encodings has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a>(pub &'a [u8]);

/// A comment to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PostComment {
    /// The stream.
    pub stream_id: StreamId,
    /// The sender's idempotency key.
    pub client_id: ClientId,
    /// 1 to 500 Unicode scalar values after trimming.
    pub content: String,
    /// The comment it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<CommentId>,
    /// Where in the video it was written, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_ms: Option<u64>,
}

impl PostComment {
    /// Reads one in any form; [`crate::codec::decode_hot`] must say the same of the usual one.
    ///
    /// # Errors
    /// A field that cannot be read.
    pub fn read(fields: &Fields<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            stream_id: fields.id("stream_id")?,
            client_id: fields.id("client_id")?,
            content: fields.text("content")?.into_owned(),
            parent_id: fields.optional("parent_id", Fields::id)?,
            media_ms: fields.optional("media_ms", Fields::number)?,
        })
    }
}

/// A reaction to a stream or to a comment of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct React {
    /// The stream.
    pub stream_id: StreamId,
    /// `like love haha wow sad angry`, or an emote of the stream.
    pub reaction_type: String,
    /// A comment of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment_id: Option<CommentId>,
    /// 1 to 20, stream reactions only; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

impl React {
    /// Reads one in any form; [`crate::codec::decode_hot`] must say the same of the usual one.
    ///
    /// # Errors
    /// A field that cannot be read.
    pub fn read(fields: &Fields<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            stream_id: fields.id("stream_id")?,
            reaction_type: fields.text("reaction_type")?.into_owned(),
            comment_id: fields.optional("comment_id", Fields::id)?,
            count: fields.optional("count", Fields::number)?,
        })
    }
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

/// A [`React`] to a stream, whose texts lie elsewhere; the stream's id was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReactView<'a> {
    /// A [`StreamId`].
    pub stream_id: &'a str,
    /// Not checked.
    pub reaction_type: &'a str,
    /// 1 when absent; not checked.
    pub count: Option<u32>,
}
