//! Bodies of events and their records.

use chorus_protocol::codes::RemovalReason;
use chorus_protocol::event::{AuthorRole, RemovalRecord, kind};
use chorus_protocol::{CommentId, CommentRecord, CommentView, Envelope, Millis};

use super::{Sample, sample};

pub(super) fn body(
    kind: &str,
    role: AuthorRole,
    target: Option<CommentId>,
    record: &[u8],
) -> Vec<u8> {
    envelope(kind, role, target, record).write(record.len(), |out| out.extend_from_slice(record))
}

fn envelope<'a>(
    kind: &'a str,
    role: AuthorRole,
    target: Option<CommentId>,
    record: &'a [u8],
) -> Envelope<'a> {
    Envelope {
        id: CommentId(9_000_000_001),
        kind,
        stream: "demo",
        author: "user 1",
        role,
        key: u128::MAX - 7,
        target,
        record,
    }
}

/// The body of an event whose record is any.
fn event_body(
    name: &'static str,
    kind: &'static str,
    role: AuthorRole,
    target: Option<CommentId>,
) -> Sample {
    Sample {
        name,
        bytes: body(kind, role, target, b"\x81\xa1a\x01"),
        reads: Box::new(move |bytes| {
            Envelope::read(bytes) == Some(envelope(kind, role, target, b"\x81\xa1a\x01"))
        }),
    }
}

fn comment_record(name: &'static str, record: CommentRecord) -> Sample {
    let bytes = rmp_serde::to_vec_named(&record).expect("encodes");
    Sample {
        name,
        bytes,
        reads: Box::new(move |bytes| {
            let envelope = envelope(kind::COMMENT, AuthorRole::User, None, bytes);
            let Some(view) = CommentView::read(&envelope) else {
                return false;
            };
            let comment = view.to_comment().expect("its ids are sound");
            let read = CommentRecord {
                username: comment.username,
                content: comment.content,
                created_at_ms: comment.created_at_ms,
                parent_id: comment.parent_id,
                mentions: comment.mentions,
                media_ms: comment.media_ms,
                badges: comment.badges,
            };
            read == record && rmp_serde::from_slice::<CommentRecord>(bytes).is_ok()
        }),
    }
}

pub(super) fn events() -> Vec<Sample> {
    let target = Some(CommentId(8_000_000_000));
    let bare = CommentRecord {
        username: "Zoë".to_owned(),
        content: "Hi all".to_owned(),
        created_at_ms: Millis(1_800_000_000_000),
        parent_id: None,
        mentions: Vec::new(),
        media_ms: None,
        badges: Vec::new(),
    };
    let full = CommentRecord {
        parent_id: target,
        mentions: vec!["ann".to_owned()],
        media_ms: Some(61_000),
        badges: vec!["moderator".to_owned()],
        ..bare.clone()
    };
    vec![
        event_body("comment event", kind::COMMENT, AuthorRole::User, None),
        event_body(
            "comment event of a moderator",
            kind::COMMENT,
            AuthorRole::Moderator,
            None,
        ),
        event_body(
            "removal event",
            kind::REMOVAL,
            AuthorRole::Broadcaster,
            target,
        ),
        event_body(
            "event of another kind",
            "applause",
            AuthorRole::Admin,
            target,
        ),
        comment_record("comment record", bare),
        comment_record("comment record full", full),
        sample(
            "removal record",
            RemovalRecord::new(RemovalReason::Moderator),
        ),
    ]
}
