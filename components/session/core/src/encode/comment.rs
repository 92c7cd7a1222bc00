//! Comments as the log holds them and as viewers read them, without a copy of their texts.

use chorus_protocol::codec::{json, msgpack};
use chorus_protocol::{Comment, CommentId, CommentView, Encoding, Millis};
use serde::Deserialize;

use super::id_text;

/// Whose ids are decimal strings: viewers' are, the log's are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    Log,
    Viewers,
}

/// Reads a log's record.
pub(crate) fn read_record(record: &[u8]) -> Option<CommentView<'_>> {
    /// The part of it that viewers see.
    #[derive(Deserialize)]
    struct RecordView<'a> {
        #[serde(borrow)]
        comment: CommentView<'a>,
    }
    let mut comment = match read_our_record(record) {
        Some(comment) => comment,
        None => {
            rmp_serde::from_slice::<RecordView<'_>>(record)
                .ok()?
                .comment
        }
    };
    // An old record may name a parent that no comment can have.
    comment.parent_id = comment.parent_id.filter(|&id| id <= CommentId::MAX);
    Some(comment)
}

/// Reads a record whose fields are in the order in which we write them.
fn read_our_record(record: &[u8]) -> Option<CommentView<'_>> {
    let mut reader = msgpack::Reader::new(record);
    let reader = &mut reader;
    exactly(reader, b"\x82\xa7comment")?;
    let fields = reader.map()?;
    exactly(reader, b"\xa2id")?;
    let id = CommentId(reader.number()?);
    exactly(reader, b"\xa9stream_id")?;
    let stream_id = reader.text()?;
    exactly(reader, b"\xa7user_id")?;
    let user_id = reader.text()?;
    exactly(reader, b"\xa8username")?;
    let username = reader.text()?;
    exactly(reader, b"\xa7content")?;
    let content = reader.text()?;
    exactly(reader, b"\xadcreated_at_ms")?;
    let created_at_ms = Millis(reader.number()?);
    let mut comment = CommentView {
        id,
        stream_id,
        user_id,
        username,
        content,
        created_at_ms,
        parent_id: None,
        mentions: Vec::new(),
        media_ms: None,
        highlighted: false,
        pinned: false,
        likes: 0,
        badges: Vec::new(),
    };
    if fields > 6 {
        if reader.exactly(b"\xa9parent_id") {
            comment.parent_id = Some(CommentId(reader.number()?));
        }
        if reader.exactly(b"\xa8mentions") {
            comment.mentions = texts(reader)?;
        }
        if reader.exactly(b"\xa8media_ms") {
            comment.media_ms = Some(reader.number()?);
        }
        comment.highlighted = reader.exactly(b"\xabhighlighted\xc3");
        comment.pinned = reader.exactly(b"\xa6pinned\xc3");
        if reader.exactly(b"\xa5likes") {
            comment.likes = reader.number()?;
        }
        if reader.exactly(b"\xa6badges") {
            comment.badges = texts(reader)?;
        }
    }
    exactly(reader, b"\xa9client_id")?;
    reader.text()?;
    // A field that is not as we write it is counted neither here nor there.
    (field_count(&comment) == fields && reader.rest().is_empty()).then_some(comment)
}

/// Fields that are written.
fn field_count(comment: &CommentView<'_>) -> usize {
    let more = [
        comment.parent_id.is_some(),
        !comment.mentions.is_empty(),
        comment.media_ms.is_some(),
        comment.highlighted,
        comment.pinned,
        comment.likes != 0,
        !comment.badges.is_empty(),
    ];
    6 + more.into_iter().map(usize::from).sum::<usize>()
}

/// About how many bytes its texts and the fields' names have.
fn bytes_about(comment: &CommentView<'_>) -> usize {
    let texts = [
        comment.stream_id,
        comment.user_id,
        comment.username,
        comment.content,
    ];
    let lists = comment.mentions.iter().chain(&comment.badges);
    let texts = texts.iter().chain(lists);
    texts.map(|text| text.len() + 3).sum::<usize>() + 160
}

/// A [`chorus_protocol::CommentRecord`] for the log, as `rmp_serde::to_vec_named` writes it.
pub(crate) fn write_record(comment: &CommentView<'_>, client_id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes_about(comment) + client_id.len());
    out.extend_from_slice(b"\x82\xa7comment");
    write_msgpack(comment, For::Log, &mut out);
    out.extend_from_slice(b"\xa9client_id");
    msgpack::write_text(&mut out, client_id);
    out
}

/// As viewers read it.
pub(crate) fn write_comment(comment: &CommentView<'_>, encoding: Encoding) -> Box<[u8]> {
    let mut out = Vec::with_capacity(bytes_about(comment));
    match encoding {
        Encoding::Json => write_json(comment, &mut out),
        Encoding::MsgPack => write_msgpack(comment, For::Viewers, &mut out),
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
    if comment.highlighted {
        out.extend_from_slice(br#","highlighted":true"#);
    }
    if comment.pinned {
        out.extend_from_slice(br#","pinned":true"#);
    }
    if comment.likes != 0 {
        out.extend_from_slice(br#","likes":"#);
        json::write_number(out, comment.likes);
    }
    json_texts(out, br#","badges":"#, &comment.badges);
    out.push(b'}');
}

fn write_msgpack(comment: &CommentView<'_>, whose: For, out: &mut Vec<u8>) {
    let id = |out: &mut Vec<u8>, id: CommentId| match whose {
        For::Log => msgpack::write_number(out, id.0),
        For::Viewers => id_text(Encoding::MsgPack, out, id),
    };
    // 13 at the most.
    out.push(0x80 | field_count(comment) as u8);
    out.extend_from_slice(b"\xa2id");
    id(out, comment.id);
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
        id(out, parent);
    }
    msgpack_texts(out, b"\xa8mentions", &comment.mentions);
    if let Some(ms) = comment.media_ms {
        out.extend_from_slice(b"\xa8media_ms");
        msgpack::write_number(out, ms);
    }
    if comment.highlighted {
        out.extend_from_slice(b"\xabhighlighted\xc3");
    }
    if comment.pinned {
        out.extend_from_slice(b"\xa6pinned\xc3");
    }
    if comment.likes != 0 {
        out.extend_from_slice(b"\xa5likes");
        msgpack::write_number(out, comment.likes);
    }
    msgpack_texts(out, b"\xa6badges", &comment.badges);
}

fn exactly(reader: &mut msgpack::Reader<'_>, bytes: &[u8]) -> Option<()> {
    reader.exactly(bytes).then_some(())
}

fn texts<'a>(reader: &mut msgpack::Reader<'a>) -> Option<Vec<&'a str>> {
    (0..reader.array()?).map(|_| reader.text()).collect()
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

/// An empty list is left out.
fn msgpack_texts(out: &mut Vec<u8>, field: &[u8], texts: &[&str]) {
    if texts.is_empty() {
        return;
    }
    out.extend_from_slice(field);
    msgpack::write_array(out, texts.len());
    for text in texts {
        msgpack::write_text(out, text);
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

#[cfg(test)]
pub(super) mod tests {
    use chorus_protocol::codec::encode;
    use chorus_protocol::{CommentRecord, Millis};

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
            highlighted: true,
            pinned: true,
            likes: 4,
            badges: vec!["admin".to_owned()],
        }
    }

    pub(crate) fn plain(id: u64) -> Comment {
        Comment {
            parent_id: None,
            mentions: vec![],
            media_ms: None,
            highlighted: false,
            pinned: false,
            likes: 0,
            badges: vec![],
            ..comment(id, "</script>\n\"\u{0}🎈")
        }
    }

    fn record(comment: &Comment) -> Vec<u8> {
        let record = CommentRecord {
            comment: comment.clone(),
            client_id: "c".parse().expect("a client id"),
        };
        rmp_serde::to_vec_named(&record).expect("writes")
    }

    pub(crate) fn encoded(encoding: Encoding, comment: &Comment) -> Vec<u8> {
        let record = record(comment);
        let view = read_record(&record).expect("reads");
        assert_eq!(view.id, comment.id);
        write_comment(&view, encoding).into_vec()
    }

    /// Comments with every set of optional fields and every size of text.
    fn all() -> impl Iterator<Item = Comment> {
        let sizes = [1, 31, 32, 255, 256, 2_000];
        (0..128_u32).flat_map(move |fields| {
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
                highlighted: has(3),
                pinned: has(4),
                likes: if has(5) { size as u64 } else { 0 },
                badges: if has(6) {
                    vec!["admin".to_owned()]
                } else {
                    vec![]
                },
                ..plain(1 << (size % 63))
            })
        })
    }

    #[test]
    fn a_record_is_shown_as_the_comment_it_holds() {
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
        assert!(read_record(&[0xc1, 1, 2]).is_none());
    }

    #[test]
    fn a_record_is_written_as_the_protocol_defines_it() {
        for comment in all() {
            let record = record(&comment);
            let view = read_our_record(&record).expect("ours");
            assert_eq!(write_record(&view, "c"), record);
        }
    }

    #[test]
    fn a_record_in_another_form_is_read_the_slow_way() {
        let ours = record(&comment(5, "hi"));
        let view = read_record(&ours);
        // The same without names, and with another order and a field of tomorrow.
        let value = rmpv::decode::read_value(&mut ours.as_slice()).expect("reads");
        let rmpv::Value::Map(mut fields) = value else {
            panic!("no map");
        };
        fields.reverse();
        fields.push(("tomorrow".into(), rmpv::Value::Nil));
        let mut other = Vec::new();
        rmpv::encode::write_value(&mut other, &rmpv::Value::Map(fields)).expect("writes");
        assert_eq!(read_our_record(&other), None);
        assert_eq!(read_record(&other), view);
        for len in 0..ours.len() {
            assert_eq!(read_record(&ours[..len]), None);
        }
    }
}
