//! Writes what clients read. What is sent to many is put together of parts that are encoded once.

mod comment;
mod receipt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chorus_protocol::client::Echo;
use chorus_protocol::codec::json::write_text as json_text;
use chorus_protocol::codec::msgpack::{write_array, write_number, write_text as text};
use chorus_protocol::codec::{encode, json};
use chorus_protocol::codes::ErrorCode;
use chorus_protocol::server::Reactions;
use chorus_protocol::stream::{Settings, StreamStatus};
use chorus_protocol::{CommentId, Encoding, Position};
use serde::Serialize;

pub(crate) use comment::{json_to_msgpack, updated_json, write_comment};
pub(crate) use receipt::ReceiptOut;

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

/// A `pong` with what its ping carried, byte for byte; of nothing it is null.
pub(crate) fn pong(encoding: Encoding, echo: Option<Echo<'_>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + echo.map_or(0, |echo| echo.0.len()));
    match encoding {
        Encoding::Json => {
            out.extend_from_slice(br#"{"type":"pong","payload":"#);
            out.extend_from_slice(echo.map_or(b"null", |echo| echo.0));
            out.push(b'}');
        }
        Encoding::MsgPack => {
            envelope(&mut out, "pong");
            out.extend_from_slice(echo.map_or(&[0xc0], |echo| echo.0));
        }
    }
    out
}

#[derive(Serialize)]
pub(crate) struct ErrorOut<'a> {
    pub(crate) code: ErrorCode,
    pub(crate) message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream_id: Option<&'a str>,
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
    pub(crate) title: &'a str,
    pub(crate) status: StreamStatus,
    /// Taken away since the viewer's place.
    pub(crate) removed: &'a [CommentId],
    pub(crate) pinned: Option<CommentId>,
    pub(crate) reactions: &'a Reactions,
    pub(crate) viewer_count: u64,
    pub(crate) comment_count: u64,
    pub(crate) settings: &'a Settings,
    pub(crate) role: &'a str,
}
/// How many fields that is.
const JOINED_TAIL_FIELDS: u8 = 9;

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
            write_array(out, comments.len());
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

/// [`Position::to_token`], which every batch ends with, in two allocations.
pub(crate) fn token(position: &Position) -> String {
    let mut plain = Vec::with_capacity(8 + position.0.len() * 32);
    write_array(&mut plain, position.0.len());
    for (region, offset) in &position.0 {
        write_array(&mut plain, 3);
        text(&mut plain, region.as_str());
        write_number(&mut plain, offset.epoch);
        write_number(&mut plain, offset.seq);
    }
    URL_SAFE_NO_PAD.encode(&plain)
}

/// A comment's id for viewers: a decimal string.
fn id_text(encoding: Encoding, out: &mut Vec<u8>, id: CommentId) {
    match encoding {
        Encoding::Json => {
            out.push(b'"');
            json::write_number(out, id.0);
            out.push(b'"');
        }
        Encoding::MsgPack => {
            let at = out.len();
            out.push(0);
            json::write_number(out, id.0);
            // 20 digits at the most.
            out[at] = 0xa0 | (out.len() - at - 1) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use chorus_protocol::codec::decode_server;
    use chorus_protocol::server::{Joined, ServerMessage};

    use super::comment::tests::{comment, encoded, plain};
    use super::*;

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
    fn a_token_is_written_as_the_protocol_defines_it() {
        let mut position = Position::default();
        assert_eq!(token(&position), position.to_token());
        for i in 0..40_u64 {
            let offset = chorus_protocol::Offset {
                epoch: u64::MAX >> i,
                seq: 1 << i,
            };
            position.advance(&format!("region-{i}").parse().expect("a region"), offset);
            assert_eq!(token(&position), position.to_token());
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
                    title: "\"Über\" 🎈",
                    status: StreamStatus::Ended,
                    removed: &[CommentId(7), CommentId(u64::MAX >> 1)],
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
                title: "\"Über\" 🎈".to_owned(),
                status: StreamStatus::Ended,
                resume: "tok".to_owned(),
                gap: true,
                comments: comments.to_vec(),
                removed: vec![CommentId(7), CommentId(u64::MAX >> 1)],
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
