//! What a viewer of Chorus says: joins, posts and reactions, written by hand and framed once.

use crate::load::dialect::{Dialect, Ready};
use crate::ws;

use super::Pop;

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Text.
    Json,
    /// Binary.
    MsgPack,
}

impl Encoding {
    fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "chorus.v1.json",
            Self::MsgPack => "chorus.v1.msgpack",
        }
    }
}

/// The stream of the connection of a number.
pub(crate) type StreamOf = Box<dyn Fn(usize) -> String>;

/// Viewers without a token.
pub(crate) fn viewers(pop: &Pop, stream: StreamOf, encoding: Encoding, deflate: bool) -> Dialect {
    let mut headers = vec![("Sec-WebSocket-Protocol", encoding.subprotocol())];
    if deflate {
        headers.push((
            "Sec-WebSocket-Extensions",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        ));
    }
    let mut dialect = Dialect::websocket(pop.addr, "/v1/ws", &headers);
    dialect.tls.clone_from(&pop.tls);
    dialect.hello = Box::new(move |number| join(&stream(number), encoding));
    // What is deflated cannot be looked into; the first message answers the join.
    dialect.ready = if deflate {
        Ready::Answers
    } else {
        Ready::Says(b"joined")
    };
    dialect
}

/// Viewers with a token each, that post and get receipts.
pub(crate) fn authors(pop: &Pop, tokens: Vec<String>, stream: StreamOf) -> Dialect {
    let addr = pop.addr;
    let mut dialect = viewers(pop, stream, Encoding::Json, false);
    dialect.request = Box::new(move |number| {
        let bearer = format!("Bearer {}", tokens[number % tokens.len()]);
        let headers = [
            (
                "Sec-WebSocket-Protocol".to_owned(),
                Encoding::Json.subprotocol().to_owned(),
            ),
            ("Authorization".to_owned(), bearer),
        ];
        ws::upgrade_request("/v1/ws", &addr.to_string(), &headers)
    });
    dialect.receipts = true;
    dialect
}

/// Opens a stream for a connection.
fn join(stream: &str, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Json => {
            let text =
                format!("{{\"type\":\"join_stream\",\"payload\":{{\"stream_id\":\"{stream}\"}}}}");
            ws::client_frame(ws::TEXT, text.as_bytes())
        }
        Encoding::MsgPack => {
            let mut bytes = vec![0x82];
            short(&mut bytes, "type");
            short(&mut bytes, "join_stream");
            short(&mut bytes, "payload");
            bytes.push(0x81);
            short(&mut bytes, "stream_id");
            short(&mut bytes, stream);
            ws::client_frame(ws::BINARY, &bytes)
        }
    }
}

/// A MessagePack text of at most 255 bytes.
fn short(bytes: &mut Vec<u8>, text: &str) {
    let len = text.len() as u8;
    if len < 32 {
        bytes.push(0xa0 | len);
    } else {
        bytes.extend_from_slice(&[0xd9, len]);
    }
    bytes.extend_from_slice(text.as_bytes());
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
    let message = format!(
        "{{\"type\":\"react\",\"payload\":{{\"stream_id\":\"{stream}\",\"reaction_type\":\"like\",\"count\":{count}}}}}"
    );
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
        let mask = head.mask.expect("masked");
        ws::unmask(&mut frame[head.head_len..], mask);
        let message: serde_json::Value =
            serde_json::from_slice(&frame[head.head_len..]).expect("JSON");
        let client_id = message["payload"]["client_id"].as_str().expect("an id");
        assert!(client_id.len() > 8, "{client_id}");
        assert_eq!(posts.scan(client_id.as_bytes(), 2), 0);
        assert_eq!(posts.scan(text.as_bytes(), 2), 1);
    }

    #[test]
    fn a_join_in_messagepack_is_what_the_protocol_says() {
        let mut frame = join("demo", Encoding::MsgPack);
        let head = ws::Head::read(&frame).expect("whole");
        let mask = head.mask.expect("masked");
        ws::unmask(&mut frame[head.head_len..], mask);
        let expected =
            [b"\x82\xa4type\xabjoin_stream\xa7payload\x81\xa9stream_id\xa4demo".as_slice()]
                .concat();
        assert_eq!(&frame[head.head_len..], expected);
    }
}
