//! Comments as viewers read them, written without a copy of their texts.

use chorus_protocol::codec::{json, msgpack};
use chorus_protocol::event::CommentUpdate;
use chorus_protocol::{Comment, CommentView, Encoding};

use super::id_text;

/// Fields that are written.
fn field_count(comment: &CommentView<'_>) -> usize {
    let more = [
        comment.parent_id.is_some(),
        !comment.mentions.is_empty(),
        comment.media_ms.is_some(),
        !comment.badges.is_empty(),
    ];
    6 + more.into_iter().map(usize::from).sum::<usize>()
}

/// As viewers read it.
pub(crate) fn write_comment(comment: &CommentView<'_>, encoding: Encoding) -> Box<[u8]> {
    let mut out = Vec::with_capacity(comment.bytes_about() + 32);
    match encoding {
        Encoding::Json => write_json(comment, &mut out),
        Encoding::MsgPack => write_msgpack(comment, &mut out),
    }
    out.into_boxed_slice()
}

fn write_json(comment: &CommentView<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"id":"#);
    id_text(Encoding::Json, out, comment.id);
    out.extend_from_slice(br#","stream_id":"#);
    json::write_text(out, comment.stream_id);
    out.extend_from_slice(br#","user_id":"#);
    json::write_text(out, comment.user_id);
    out.extend_from_slice(br#","username":"#);
    json::write_text(out, comment.username);
    out.extend_from_slice(br#","content":"#);
    json::write_text(out, comment.content);
    out.extend_from_slice(br#","created_at_ms":"#);
    json::write_number(out, comment.created_at_ms.0);
    if let Some(id) = comment.parent_id {
        out.extend_from_slice(br#","parent_id":"#);
        id_text(Encoding::Json, out, id);
    }
    json_texts(out, br#","mentions":"#, &comment.mentions);
    if let Some(ms) = comment.media_ms {
        out.extend_from_slice(br#","media_ms":"#);
        json::write_number(out, ms);
    }
    json_texts(out, br#","badges":"#, &comment.badges);
    out.push(b'}');
}

fn write_msgpack(comment: &CommentView<'_>, out: &mut Vec<u8>) {
    // 10 at the most.
    out.push(0x80 | field_count(comment) as u8);
    out.extend_from_slice(b"\xa2id");
    id_text(Encoding::MsgPack, out, comment.id);
    out.extend_from_slice(b"\xa9stream_id");
    msgpack::write_text(out, comment.stream_id);
    out.extend_from_slice(b"\xa7user_id");
    msgpack::write_text(out, comment.user_id);
    out.extend_from_slice(b"\xa8username");
    msgpack::write_text(out, comment.username);
    out.extend_from_slice(b"\xa7content");
    msgpack::write_text(out, comment.content);
    out.extend_from_slice(b"\xadcreated_at_ms");
    msgpack::write_number(out, comment.created_at_ms.0);
    if let Some(parent) = comment.parent_id {
        out.extend_from_slice(b"\xa9parent_id");
        id_text(Encoding::MsgPack, out, parent);
    }
    msgpack::write_texts(out, b"\xa8mentions", &comment.mentions);
    if let Some(ms) = comment.media_ms {
        out.extend_from_slice(b"\xa8media_ms");
        msgpack::write_number(out, ms);
    }
    msgpack::write_texts(out, b"\xa6badges", &comment.badges);
}

/// An empty list is left out.
fn json_texts(out: &mut Vec<u8>, field: &[u8], texts: &[&str]) {
    for (i, text) in texts.iter().enumerate() {
        if i == 0 {
            out.extend_from_slice(field);
        }
        out.push(if i == 0 { b'[' } else { b',' });
        json::write_text(out, text);
    }
    if !texts.is_empty() {
        out.push(b']');
    }
}

/// A comment's JSON as MessagePack for viewers: what came before one of them did.
pub(crate) fn json_to_msgpack(json: &[u8]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(json.len());
    // It was written by us.
    if let Ok(comment) = serde_json::from_slice::<Comment>(json) {
        let _ = super::encode(Encoding::MsgPack, &comment, &mut out);
    }
    out.into_boxed_slice()
}

/// A comment's JSON after an update.
pub(crate) fn updated_json(json: &[u8], update: CommentUpdate) -> Box<[u8]> {
    let mut out = Vec::with_capacity(json.len() + 32);
    // It was written by us.
    if let Ok(mut comment) = serde_json::from_slice::<Comment>(json) {
        update.apply(&mut comment);
        let _ = super::encode(Encoding::Json, &comment, &mut out);
    }
    out.into_boxed_slice()
}

#[cfg(test)]
pub(super) mod tests {
    use chorus_protocol::codec::encode;
    use chorus_protocol::{CommentId, Millis};

    use super::*;

    pub(crate) fn comment(id: u64, content: &str) -> Comment {
        Comment {
            id: CommentId(id),
            stream_id: "demo".parse().expect("a stream"),
            user_id: "u\"1".parse().expect("a user"),
            username: "Ann \u{2028} \\".to_owned(),
            content: content.to_owned(),
            created_at_ms: Millis(7),
            parent_id: Some(CommentId(3)),
            mentions: vec!["bob".to_owned()],
            media_ms: Some(9),
            highlighted: false,
            pinned: false,
            likes: 0,
            badges: vec!["admin".to_owned()],
        }
    }

    pub(crate) fn plain(id: u64) -> Comment {
        Comment {
            parent_id: None,
            mentions: vec![],
            media_ms: None,
            badges: vec![],
            ..comment(id, "</script>\n\"\u{0}🎈")
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
            badges: comment.badges.iter().map(String::as_str).collect(),
        }
    }

    pub(crate) fn encoded(encoding: Encoding, comment: &Comment) -> Vec<u8> {
        write_comment(&view(comment), encoding).into_vec()
    }

    /// Comments with every set of optional fields and every size of text.
    fn all() -> impl Iterator<Item = Comment> {
        let sizes = [1, 31, 32, 255, 256, 2_000];
        (0..16_u32).flat_map(move |fields| {
            let has = move |field: u32| fields & (1 << field) != 0;
            sizes.map(move |size| Comment {
                content: "é\"".repeat(size),
                created_at_ms: Millis(1 << (size % 64)),
                parent_id: has(0).then_some(CommentId(u64::MAX >> 1)),
                mentions: if has(1) {
                    vec!["@".repeat(size); 17]
                } else {
                    vec![]
                },
                media_ms: has(2).then_some(size as u64),
                badges: if has(3) {
                    vec!["admin".to_owned()]
                } else {
                    vec![]
                },
                ..plain(1 << (size % 63))
            })
        })
    }

    #[test]
    fn an_update_changes_what_it_speaks_of() {
        let highlight = CommentUpdate {
            highlighted: Some(true),
            pinned: None,
        };
        for comment in all() {
            let json = encoded(Encoding::Json, &comment);
            let updated = updated_json(&json, highlight);
            let read: Comment = serde_json::from_slice(&updated).expect("a comment");
            let expected = Comment {
                highlighted: true,
                ..comment
            };
            assert_eq!(read, expected);
            assert_eq!(updated_json(&updated, CommentUpdate::default()), updated);
        }
    }

    #[test]
    fn a_comment_is_written_as_the_protocol_defines_it() {
        for comment in all().chain([comment(5, "hi"), plain(6)]) {
            for encoding in Encoding::ALL {
                let mut whole = Vec::new();
                encode(encoding, &comment, &mut whole).expect("writes");
                assert_eq!(encoded(encoding, &comment), whole);
            }
            let json = encoded(Encoding::Json, &comment);
            assert_eq!(
                json_to_msgpack(&json).into_vec(),
                encoded(Encoding::MsgPack, &comment)
            );
        }
    }
}
