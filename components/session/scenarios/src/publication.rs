//! What a session hands to the log, read.

use chorus_protocol::event::{AuthorRole, Envelope};
use chorus_protocol::{Comment, CommentId, CommentView};

/// An event on its way to the log.
#[derive(Clone, Debug)]
pub struct Publication {
    /// To be answered.
    pub request: u64,
    /// What it is.
    pub kind: String,
    /// The log's message id.
    pub key: u128,
    /// Its id.
    pub id: u64,
    /// Whose doing it is.
    pub author: String,
    /// What the author is in the stream.
    pub role: AuthorRole,
    /// The comment it is about.
    pub target: Option<CommentId>,
    /// As it is to be stored.
    pub bytes: Vec<u8>,
    /// The comment, when it is one.
    pub comment: Option<Comment>,
}

impl Publication {
    pub(crate) fn new(request: u64, bytes: Vec<u8>) -> Self {
        let envelope = Envelope::read(&bytes).expect("an event");
        let comment = envelope.is_comment().then(|| {
            let view = CommentView::read(&envelope).expect("a comment");
            view.to_comment().expect("its ids are ids")
        });
        Self {
            request,
            kind: envelope.kind.to_owned(),
            key: envelope.key,
            id: envelope.id.0,
            author: envelope.author.to_owned(),
            role: envelope.role,
            target: envelope.target,
            comment,
            bytes,
        }
    }

    /// The comment that it is.
    #[must_use]
    pub fn comment(self) -> Comment {
        self.comment.expect("it is a comment")
    }
}
