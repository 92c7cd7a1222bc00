//! Comments, publications and totals as tests write them.

use std::collections::BTreeMap;

use chorus_protocol::backhaul::{Outcome, Publish};
use chorus_protocol::comment::post_key;
use chorus_protocol::{ClientId, Comment, CommentId, CommentRecord, StreamId, UserId};

pub fn record(id: CommentId, stream: &StreamId, user: &str, client_id: &str) -> CommentRecord {
    CommentRecord {
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

pub fn publish(request: u64, record: &CommentRecord) -> Publish {
    let comment = &record.comment;
    Publish::Comment {
        request,
        stream: comment.stream_id.clone(),
        key: post_key(&comment.stream_id, &comment.user_id, &record.client_id),
        id: comment.id,
        record: rmp_serde::to_vec_named(record).unwrap(),
    }
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
