//! What a viewer of Chorus says: joins, posts and reactions, framed once.

use serde_json::json;

use super::Pop;
use crate::load::dialect::{Dialect, Ready};
use crate::ws;

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    MsgPack,
}

const PATH: &str = "/v1/ws";
const PROTOCOL: &str = "Sec-WebSocket-Protocol";
const JSON: &str = "chorus.v1.json";
const MSGPACK: &str = "chorus.v1.msgpack";
const DEFLATE: (&str, &str) = (
    "Sec-WebSocket-Extensions",
    "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
);

/// Viewers without a token, dealt out to some streams in turn.
pub(crate) fn viewers(pop: &Pop, streams: &[String], encoding: Encoding, deflate: bool) -> Dialect {
    let subprotocol = match encoding {
        Encoding::Json => JSON,
        Encoding::MsgPack => MSGPACK,
    };
    let headers = [(PROTOCOL, subprotocol), DEFLATE];
    let headers = &headers[..1 + usize::from(deflate)];
    let joins = streams.iter().map(|stream| join(stream, encoding));
    Dialect {
        tls: pop.tls.clone(),
        hellos: joins.collect(),
        // What is deflated cannot be looked into; the first message answers the join.
        ready: if deflate {
            Ready::Answers
        } else {
            Ready::Says(b"joined")
        },
        ..Dialect::websocket(pop.addr, PATH, headers)
    }
}

/// Viewers with a token each, that post and get receipts.
pub(crate) fn authors(pop: &Pop, tokens: &[String], streams: &[String]) -> Dialect {
    let request = |token: &String| {
        let bearer = format!("Bearer {token}");
        let headers = [(PROTOCOL, JSON), ("Authorization", &bearer)];
        ws::upgrade_request(PATH, &pop.addr.to_string(), &headers)
    };
    Dialect {
        requests: tokens.iter().map(request).collect(),
        receipts: true,
        ..viewers(pop, streams, Encoding::Json, false)
    }
}

/// Opens a stream for a connection.
fn join(stream: &str, encoding: Encoding) -> Vec<u8> {
    let message = json!({"type": "join_stream", "payload": {"stream_id": stream}});
    match encoding {
        Encoding::Json => ws::client_frame(ws::TEXT, message.to_string().as_bytes()),
        Encoding::MsgPack => {
            // It has only what MessagePack has a form for.
            let bytes = rmp_serde::to_vec(&message).unwrap_or_default();
            ws::client_frame(ws::BINARY, &bytes)
        }
    }
}

/// A post. The text is one of [`crate::load::posts::Posts::next`]: nothing in it needs an escape.
pub(crate) fn post(stream: &str, text: &str) -> Vec<u8> {
    // The mark's number is unlike any other, so it serves as the idempotency key too; without the mark itself, or a
    // receipt would count as the comment.
    let key = text.get(2..10).unwrap_or(text);
    let message = format!(
        "{{\"type\":\"post_comment\",\"payload\":{{\"stream_id\":\"{stream}\",\"client_id\":\"{key}-{:x}\",\"content\":\"{text}\"}}}}",
        std::process::id()
    );
    ws::client_frame(ws::TEXT, message.as_bytes())
}

/// A reaction to a stream.
pub(crate) fn react(stream: &str, count: u32) -> Vec<u8> {
    let payload = json!({"stream_id": stream, "reaction_type": "like", "count": count});
    let message = json!({"type": "react", "payload": payload}).to_string();
    ws::client_frame(ws::TEXT, message.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receipt_repeats_is_no_mark() {
        let mut posts = crate::load::posts::Posts::default();
        posts.restart(1);
        let text = posts.next(60, 1);
        let mut frame = post("demo", &text);
        let head = ws::Head::read(&frame).expect("whole");
        ws::unmask(&mut frame[head.head_len..], head.mask.expect("masked"));
        let message: serde_json::Value =
            serde_json::from_slice(&frame[head.head_len..]).expect("JSON");
        let client_id = message["payload"]["client_id"].as_str().expect("an id");
        assert!(client_id.len() > 8, "{client_id}");
        assert_eq!(posts.scan(client_id.as_bytes(), 2), 0);
        assert_eq!(posts.scan(text.as_bytes(), 2), 1);
    }
}
