//! Comments, publications and totals as tests write them.

use std::collections::BTreeMap;

use chorus_protocol::backhaul::Publish;
use chorus_protocol::codes::RemovalReason;
use chorus_protocol::comment::post_key;
use chorus_protocol::event::{AuthorRole, RemovalRecord, decision_key, kind};
use chorus_protocol::{
    ClientId, Comment, CommentId, CommentRecord, Envelope, Outcome, StreamId, UserId,
};

/// A comment to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct Post {
    pub comment: Comment,
    pub client_id: ClientId,
}

impl Post {
    pub fn key(&self) -> u128 {
        let comment = &self.comment;
        post_key(&comment.stream_id, &comment.user_id, &self.client_id)
    }

    /// The body of its event.
    pub fn body(&self) -> Vec<u8> {
        let comment = self.comment.clone();
        let roles = comment.badges.iter().map(|badge| AuthorRole::parse(badge));
        let envelope = Envelope {
            id: comment.id,
            kind: kind::COMMENT,
            stream: comment.stream_id.as_str(),
            author: comment.user_id.as_str(),
            role: roles.max().unwrap_or_default(),
            key: self.key(),
            target: None,
            record: b"",
        };
        envelope.write_record(&CommentRecord {
            username: comment.username,
            content: comment.content,
            created_at_ms: comment.created_at_ms,
            parent_id: comment.parent_id,
            mentions: comment.mentions,
            media_ms: comment.media_ms,
            badges: comment.badges,
        })
    }
}

pub fn record(id: CommentId, stream: &StreamId, user: &str, client_id: &str) -> Post {
    Post {
        comment: Comment {
            id,
            stream_id: stream.clone(),
            user_id: UserId::new(user).unwrap(),
            username: user.to_owned(),
            content: format!("said by {user} as {client_id}"),
            created_at_ms: id.minted_at(),
            parent_id: None,
            mentions: Vec::new(),
            media_ms: None,
            highlighted: false,
            pinned: false,
            likes: 0,
            // No limit holds what is written here, but where a test is about limits.
            badges: vec!["admin".to_owned()],
        },
        client_id: ClientId::new(client_id).unwrap(),
    }
}

pub fn publish(request: u64, post: &Post) -> Publish {
    let event = post.body();
    Publish::Event { request, event }
}

/// Takes a comment away.
pub fn remove(
    request: u64,
    id: CommentId,
    (stream, comment): (&StreamId, CommentId),
    (user, role): (&str, AuthorRole),
) -> Publish {
    let envelope = Envelope {
        id,
        kind: kind::REMOVAL,
        stream: stream.as_str(),
        author: user,
        role,
        key: decision_key(stream, kind::REMOVAL, comment, ""),
        target: Some(comment),
        record: b"",
    };
    let event = envelope.write_record(&RemovalRecord::new(RemovalReason::Author));
    Publish::Event { request, event }
}

pub fn stored(id: CommentId) -> Outcome {
    Outcome::Stored {
        id,
        duplicate: false,
    }
}

pub fn reactions(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs
        .iter()
        .map(|(kind, by)| ((*kind).to_owned(), *by))
        .collect()
}
