//! Writes what clients read. What is sent to many is put together of parts that are encoded once.

use chorus_protocol::codec::encode;
use chorus_protocol::server::{Reactions, ReceiptStatus};
use chorus_protocol::stream::Settings;
use chorus_protocol::{Comment, CommentId, Encoding};
use serde::{Deserialize, Serialize};

/// `{"type": …, "payload": …}` around anything.
#[derive(Serialize)]
struct Envelope<'a, T> {
    r#type: &'a str,
    payload: T,
}

/// A whole message.
pub(crate) fn message<T: Serialize>(encoding: Encoding, kind: &str, payload: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    // Only values an encoding cannot carry fail, which none of ours is.
    if encode(
        encoding,
        &Envelope {
            r#type: kind,
            payload,
        },
        &mut bytes,
    )
    .is_err()
    {
        bytes.clear();
    }
    bytes
}

#[derive(Serialize)]
pub(crate) struct ReceiptOut<'a> {
    pub(crate) client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comment_id: Option<CommentId>,
    pub(crate) status: ReceiptStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
}

#[derive(Serialize)]
pub(crate) struct ErrorOut<'a> {
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
}

#[derive(Serialize)]
pub(crate) struct ReactionsOut<'a> {
    pub(crate) stream_id: &'a str,
    pub(crate) counts: &'a Reactions,
}

#[derive(Serialize)]
pub(crate) struct ViewersOut<'a> {
    pub(crate) stream_id: &'a str,
    pub(crate) count: u64,
}

/// What `joined` says after its comments.
#[derive(Serialize)]
pub(crate) struct JoinedTail<'a> {
    pub(crate) removed: [(); 0],
    pub(crate) pinned: Option<CommentId>,
    pub(crate) reactions: &'a Reactions,
    pub(crate) viewer_count: u64,
    pub(crate) comment_count: u64,
    pub(crate) settings: &'a Settings,
    pub(crate) role: &'a str,
}
/// How many fields that is.
const JOINED_TAIL_FIELDS: u8 = 7;

/// The first part of `joined`, up to its comments.
pub(crate) fn joined_head(encoding: Encoding, stream: &str, resume: &str, gap: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + resume.len());
    match encoding {
        Encoding::Json => {
            out.extend_from_slice(br#"{"type":"joined","payload":{"stream_id":"#);
            json_text(&mut out, stream);
            out.extend_from_slice(br#","resume":"#);
            json_text(&mut out, resume);
            out.extend_from_slice(if gap {
                br#","gap":true,"comments":"#
            } else {
                br#","gap":false,"comments":"#
            });
        }
        Encoding::MsgPack => {
            envelope(&mut out, "joined");
            out.push(0x80 | (4 + JOINED_TAIL_FIELDS));
            text(&mut out, "stream_id");
            text(&mut out, stream);
            text(&mut out, "resume");
            text(&mut out, resume);
            text(&mut out, "gap");
            out.push(if gap { 0xc3 } else { 0xc2 });
            text(&mut out, "comments");
        }
    }
    out
}

/// The last part of `joined`, after its comments.
pub(crate) fn joined_tail(encoding: Encoding, tail: &JoinedTail<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(384);
    if encode(encoding, tail, &mut out).is_err() || out.is_empty() {
        return Vec::new();
    }
    match encoding {
        // The tail's own fields go on where the head's stopped.
        Encoding::Json => {
            out[0] = b',';
            out.push(b'}');
        }
        Encoding::MsgPack => {
            out.remove(0);
        }
    }
    out
}

/// Comments already encoded, as an array.
pub(crate) fn array<'a>(
    encoding: Encoding,
    comments: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + comments.len() * 192);
    array_into(encoding, comments, &mut out);
    out
}

fn array_into<'a>(
    encoding: Encoding,
    comments: impl ExactSizeIterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) {
    match encoding {
        Encoding::Json => {
            out.push(b'[');
            for (i, comment) in comments.enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(comment);
            }
            out.push(b']');
        }
        Encoding::MsgPack => {
            let len = comments.len();
            match len {
                0..16 => out.push(0x90 | len as u8),
                16..0x1_0000 => {
                    out.push(0xdc);
                    out.extend_from_slice(&(len as u16).to_be_bytes());
                }
                _ => {
                    out.push(0xdd);
                    out.extend_from_slice(&(len as u32).to_be_bytes());
                }
            }
            comments.for_each(|comment| out.extend_from_slice(comment));
        }
    }
}

/// A whole `comments_batch`.
pub(crate) fn comments_batch<'a>(
    encoding: Encoding,
    stream: &str,
    comments: impl ExactSizeIterator<Item = &'a [u8]>,
    resume: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + resume.len() + comments.len() * 256);
    match encoding {
        Encoding::Json => {
            out.extend_from_slice(br#"{"type":"comments_batch","payload":{"stream_id":"#);
            json_text(&mut out, stream);
            out.extend_from_slice(br#","comments":"#);
            array_into(encoding, comments, &mut out);
            out.extend_from_slice(br#","resume":"#);
            json_text(&mut out, resume);
            out.extend_from_slice(b"}}");
        }
        Encoding::MsgPack => {
            envelope(&mut out, "comments_batch");
            out.push(0x83);
            text(&mut out, "stream_id");
            text(&mut out, stream);
            text(&mut out, "comments");
            array_into(encoding, comments, &mut out);
            text(&mut out, "resume");
            text(&mut out, resume);
        }
    }
    out
}

fn envelope(out: &mut Vec<u8>, kind: &str) {
    out.push(0x82);
    text(out, "type");
    text(out, kind);
    text(out, "payload");
}

/// A MessagePack text.
fn text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        len @ 0..32 => out.push(0xa0 | len as u8),
        len @ 32..0x100 => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..0x1_0000 => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// A JSON text, with its quotes and escapes.
fn json_text(out: &mut Vec<u8>, text: &str) {
    // Writing a text into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// A comment as [`Comment`] writes it, without a copy of its texts. The fields and their order are the same.
#[derive(Serialize, Deserialize)]
pub(crate) struct CommentView<'a> {
    pub(crate) id: CommentId,
    stream_id: &'a str,
    user_id: &'a str,
    username: &'a str,
    content: &'a str,
    created_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent_id: Option<CommentId>,
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty")]
    mentions: Vec<&'a str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    highlighted: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pinned: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    likes: u64,
    #[serde(default, borrow, skip_serializing_if = "Vec::is_empty")]
    badges: Vec<&'a str>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// The part of a log's record that viewers see.
#[derive(Deserialize)]
struct RecordView<'a> {
    #[serde(borrow)]
    comment: CommentView<'a>,
}

/// A log's record as JSON for viewers, with its id; `None` when it cannot be read.
pub(crate) fn record_to_json(record: &[u8]) -> Option<(CommentId, Box<[u8]>)> {
    let view: RecordView<'_> = rmp_serde::from_slice(record).ok()?;
    let mut json = Vec::with_capacity(record.len() + 64);
    encode(Encoding::Json, &view.comment, &mut json).ok()?;
    Some((view.comment.id, json.into_boxed_slice()))
}

/// A comment's JSON as MessagePack for viewers.
pub(crate) fn json_to_msgpack(json: &[u8]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(json.len());
    // It was written by us.
    if let Ok(comment) = serde_json::from_slice::<Comment>(json) {
        let _ = encode(Encoding::MsgPack, &comment, &mut out);
    }
    out.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use chorus_protocol::codec::decode_server;
    use chorus_protocol::server::{Joined, ServerMessage};
    use chorus_protocol::{CommentRecord, Millis};

    use super::*;

    fn comment(id: u64, content: &str) -> Comment {
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

    fn plain(id: u64) -> Comment {
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

    fn encoded(encoding: Encoding, comment: &Comment) -> Vec<u8> {
        let record = CommentRecord {
            comment: comment.clone(),
            client_id: "c".parse().expect("a client id"),
        };
        let (id, json) =
            record_to_json(&rmp_serde::to_vec_named(&record).expect("writes")).expect("reads");
        assert_eq!(id, comment.id);
        match encoding {
            Encoding::Json => json.into_vec(),
            Encoding::MsgPack => json_to_msgpack(&json).into_vec(),
        }
    }

    #[test]
    fn a_record_is_shown_as_the_comment_it_holds() {
        for encoding in Encoding::ALL {
            for comment in [comment(5, "hi"), plain(6)] {
                let mut whole = Vec::new();
                encode(encoding, &comment, &mut whole).expect("writes");
                assert_eq!(encoded(encoding, &comment), whole);
            }
        }
        assert!(record_to_json(&[0xc1, 1, 2]).is_none());
    }

    #[test]
    fn batches_of_every_size_read_back() {
        for encoding in Encoding::ALL {
            for len in [0_usize, 1, 15, 16, 70_000] {
                let one = plain(1);
                let bytes = encoded(encoding, &one);
                let frame = comments_batch(
                    encoding,
                    "demo",
                    (0..len).map(|_| bytes.as_slice()),
                    &"r".repeat(300),
                );
                let Ok(ServerMessage::CommentsBatch {
                    comments, resume, ..
                }) = decode_server(encoding, &frame)
                else {
                    panic!("not a batch");
                };
                assert_eq!(comments.len(), len);
                assert!(comments.iter().all(|comment| *comment == one));
                assert_eq!(resume.len(), 300);
            }
        }
    }

    #[test]
    fn joined_is_put_together_of_its_parts() {
        let reactions = Reactions::from([("like".to_owned(), 3)]);
        let settings = Settings::default();
        let comments = [comment(1, "a"), plain(2)];
        for encoding in Encoding::ALL {
            let mut frame = joined_head(encoding, "demo", "tok", true);
            let parts: Vec<Vec<u8>> = comments
                .iter()
                .map(|comment| encoded(encoding, comment))
                .collect();
            frame.extend(array(encoding, parts.iter().map(Vec::as_slice)));
            frame.extend(joined_tail(
                encoding,
                &JoinedTail {
                    removed: [],
                    pinned: None,
                    reactions: &reactions,
                    viewer_count: 2,
                    comment_count: 8,
                    settings: &settings,
                    role: "user",
                },
            ));
            let expected = Joined {
                stream_id: "demo".parse().expect("a stream"),
                resume: "tok".to_owned(),
                gap: true,
                comments: comments.to_vec(),
                removed: vec![],
                pinned: None,
                reactions: reactions.clone(),
                viewer_count: 2,
                comment_count: 8,
                settings: settings.clone(),
                role: "user".to_owned(),
            };
            assert_eq!(
                decode_server(encoding, &frame),
                Ok(ServerMessage::Joined(Box::new(expected)))
            );
        }
    }
}
