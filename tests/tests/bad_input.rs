//! What is wrong gets what the protocol says, and disturbs nobody else.

use std::time::Duration;

use anyhow::{Context, Result};
use chorus_client::protocol::server::ReceiptStatus;
use chorus_client::protocol::{Encoding, StreamId};
use chorus_client::{Options, Viewer};
use chorus_tests::dev::{Dev, Part};
use chorus_tests::raw::{Frame, Raw, opcode};
use chorus_tests::{SOON, eventually};
use serde_json::{Value, json};

const JSON: &str = "chorus.v1.json";
const MSGPACK: &str = "chorus.v1.msgpack";
const JOIN: &[u8] = br#"{"type":"join_stream","payload":{"stream_id":"demo"}}"#;
const PING: &[u8] = br#"{"type":"ping","payload":7}"#;

async fn message(raw: &mut Raw) -> Result<Value> {
    match raw.next(SOON).await? {
        Frame::Data(bytes) => Ok(serde_json::from_slice(&bytes)?),
        other @ (Frame::Pong(_) | Frame::Close(_) | Frame::Gone) => {
            anyhow::bail!("no message but {other:?}")
        }
    }
}

/// The next message of this type; others are passed over.
async fn message_of(raw: &mut Raw, kind: &str) -> Result<Value> {
    loop {
        let message = message(raw).await?;
        if message["type"] == kind {
            return Ok(message["payload"].clone());
        }
    }
}

async fn joined(dev: &Dev) -> Result<Raw> {
    let mut raw = Raw::open(dev.listen(), JSON, "").await?;
    raw.frame(opcode::TEXT, JOIN).await?;
    message_of(&mut raw, "joined").await?;
    Ok(raw)
}

/// Someone who watches meanwhile and must notice nothing.
struct Bystander {
    viewer: Viewer,
}

impl Bystander {
    async fn new(dev: &Dev, name: &str) -> Result<Self> {
        let viewer = dev.writer(name, "admin", Options::default()).await?;
        Ok(Self { viewer })
    }

    async fn finds_nothing_wrong(mut self) -> Result<()> {
        let id = self.viewer.post_durable("still here", SOON).await?;
        self.viewer
            .wait("own comment", SOON, |viewer| {
                viewer.seen.missing([&id]).is_empty()
            })
            .await?;
        assert_eq!(self.viewer.closed, None);
        assert_eq!(self.viewer.seen.repeats, 0);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_read_gets_an_error_and_the_socket_stays() -> Result<()> {
    let dev = Dev::shared();
    let bystander = Bystander::new(dev, "by-bodies").await?;
    let mut raw = joined(dev).await?;
    let bodies: [(&[u8], &str); 9] = [
        (b"", "invalid_message"),
        (b"{", "invalid_message"),
        (b"null", "invalid_message"),
        (br#"{"type":"join_stream"}"#, "invalid_message"),
        (br#"{"type":"join_stream","payload":{"stream_id":"no dots."}}"#, "invalid_message"),
        (br#"{"type":"post_comment","payload":{"stream_id":"demo","client_id":"","content":"x"}}"#, "invalid_message"),
        (br#"{"type":"react","payload":{"stream_id":"demo","reaction_type":"like","count":-1}}"#, "invalid_message"),
        (br#"{"type":"dance","payload":{}}"#, "unknown_type"),
        (br#"{"type":17}"#, "invalid_message"),
    ];
    for (body, code) in bodies {
        raw.frame(opcode::TEXT, body).await?;
        let error = message_of(&mut raw, "error").await?;
        assert_eq!(error["code"], code, "{}", String::from_utf8_lossy(body));
        assert!(error["message"].is_string());
    }
    let deep = [b"[".repeat(2_000), b"]".repeat(2_000)].concat();
    raw.frame(opcode::TEXT, &deep).await?;
    assert_eq!(
        message_of(&mut raw, "error").await?["code"],
        "invalid_message"
    );
    raw.frame(opcode::TEXT, PING).await?;
    assert_eq!(message_of(&mut raw, "pong").await?, json!(7));
    bystander.finds_nothing_wrong().await
}

#[tokio::test(flavor = "multi_thread")]
async fn msgpack_that_cannot_be_read_gets_an_error_and_the_socket_stays() -> Result<()> {
    let dev = Dev::shared();
    let mut raw = Raw::open(dev.listen(), MSGPACK, "").await?;
    let join = json!({ "type": "join_stream", "payload": { "stream_id": "demo" } });
    raw.frame(opcode::BINARY, &rmp_serde::to_vec(&join)?)
        .await?;
    let nested = vec![0x91; 1_000];
    // Not MessagePack, cut off, an array that says it has 2^32-1 entries, nested too deep.
    let bodies: [&[u8]; 5] = [
        &[0xc1],
        &[0x82, 0xa4, b't'],
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &nested,
        b"",
    ];
    for body in bodies {
        raw.frame(opcode::BINARY, body).await?;
        let error: Value = loop {
            match raw.next(SOON).await? {
                Frame::Data(bytes) => {
                    let message: Value = rmp_serde::from_slice(&bytes)?;
                    if message["type"] == "error" {
                        break message["payload"].clone();
                    }
                }
                other @ (Frame::Pong(_) | Frame::Close(_) | Frame::Gone) => {
                    anyhow::bail!("{other:?} for {body:x?}")
                }
            }
        };
        assert_eq!(error["code"], "invalid_message", "{body:x?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_rules_close_with_their_code() -> Result<()> {
    let dev = Dev::shared();
    let bystander = Bystander::new(dev, "by-frames").await?;
    let long_ping = vec![b'x'; 126];
    for (what, code) in [
        ("unmasked", 1002),
        ("reserved opcode", 1002),
        ("reserved bits", 1002),
        ("a fragmented ping", 1002),
        ("a long ping", 1002),
        ("a continuation of nothing", 1002),
        ("a text within a text", 1002),
        ("a close with one byte", 1002),
        ("a close code that is none", 1002),
        ("no UTF-8", 1007),
        ("no UTF-8 in the second half", 1007),
        ("a binary frame on a text connection", 1003),
        ("8,193 bytes", 1009),
        ("8,193 bytes in parts", 1009),
        ("a length of 2^62", 1009),
    ] {
        let mut raw = joined(dev).await?;
        match what {
            "unmasked" => raw.unmasked(opcode::TEXT, PING).await?,
            "reserved opcode" => raw.frame(3, b"x").await?,
            "reserved bits" => {
                raw.bytes(&chorus_tests::raw::frame(0xb1, true, PING))
                    .await?
            }
            "a fragmented ping" => raw.part(opcode::PING, b"x").await?,
            "a long ping" => raw.frame(opcode::PING, &long_ping).await?,
            "a continuation of nothing" => raw.frame(opcode::CONTINUATION, b"x").await?,
            "a text within a text" => {
                raw.part(opcode::TEXT, b"{").await?;
                raw.frame(opcode::TEXT, b"}").await?;
            }
            "a close with one byte" => raw.frame(opcode::CLOSE, &[3]).await?,
            "a close code that is none" => {
                raw.frame(opcode::CLOSE, &1005_u16.to_be_bytes()).await?
            }
            "no UTF-8" => raw.frame(opcode::TEXT, &[b'"', 0xc3, 0x28, b'"']).await?,
            "no UTF-8 in the second half" => {
                raw.part(opcode::TEXT, b"\"\xe2\x82").await?;
                raw.frame(opcode::CONTINUATION, b"\"").await?;
            }
            "a binary frame on a text connection" => raw.frame(opcode::BINARY, PING).await?,
            "8,193 bytes" => raw.frame(opcode::TEXT, &[b' '; 8_193]).await?,
            "8,193 bytes in parts" => {
                raw.part(opcode::TEXT, &[b' '; 8_000]).await?;
                raw.frame(opcode::CONTINUATION, &[b' '; 193]).await?;
            }
            _ => {
                let mut head = vec![0x81, 0xff];
                head.extend_from_slice(&(1_u64 << 62).to_be_bytes());
                head.extend_from_slice(&[0; 4]);
                raw.bytes(&head).await?;
            }
        }
        let closed = raw
            .close_code(SOON)
            .await
            .with_context(|| what.to_owned())?;
        assert_eq!(closed, Some(code), "{what}");
    }
    bystander.finds_nothing_wrong().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_allow_is_taken() -> Result<()> {
    let dev = Dev::shared();
    let mut raw = joined(dev).await?;
    // Exactly the limit: a ping padded to 8,192 bytes.
    let mut longest = PING.to_vec();
    longest.resize(8_192, b' ');
    raw.frame(opcode::TEXT, &longest).await?;
    assert_eq!(message_of(&mut raw, "pong").await?, json!(7));
    // A message in three parts, cut within a letter, with control frames between.
    let text = r#"{"type":"ping","payload":"€€"}"#.as_bytes();
    let cut = text
        .iter()
        .position(|&byte| byte == 0xe2)
        .context("a euro")?
        + 1;
    raw.part(opcode::TEXT, &text[..cut]).await?;
    raw.frame(opcode::PING, b"between").await?;
    raw.part(opcode::CONTINUATION, &text[cut..cut + 1]).await?;
    raw.frame(opcode::PONG, b"unasked").await?;
    raw.frame(opcode::CONTINUATION, &text[cut + 1..]).await?;
    let mut heard = Vec::new();
    while heard.len() < 2 {
        match raw.next(SOON).await? {
            Frame::Pong(payload) => heard.push(String::from_utf8(payload)?),
            Frame::Data(bytes) => {
                let message: Value = serde_json::from_slice(&bytes)?;
                if message["type"] == "pong" {
                    heard.push(message["payload"].to_string());
                }
            }
            other @ (Frame::Close(_) | Frame::Gone) => anyhow::bail!("{other:?}"),
        }
    }
    assert_eq!(heard, ["between", "\"€€\""]);
    // Byte by byte.
    for byte in chorus_tests::raw::frame(0x81, true, PING) {
        raw.bytes(&[byte]).await?;
    }
    assert_eq!(message_of(&mut raw, "pong").await?, json!(7));
    raw.frame(opcode::CLOSE, &1000_u16.to_be_bytes()).await?;
    assert_eq!(raw.close_code(SOON).await?, Some(1000));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_that_cannot_be_taken_are_told_why() -> Result<()> {
    let dev = Dev::shared();
    let demo = dev.demo()?;
    let token = dev.token("ada-refused", "admin").await?;
    let options = Options::default().token(token);
    let mut ada = dev.viewer(&demo, &options).await?;

    for (content, reason) in [
        ("", "empty"),
        (" \n\t ", "empty"),
        (&"x".repeat(501), "too_long"),
    ] {
        let key = ada.post(content).await?;
        ada.wait("rejected", SOON, |ada| {
            ada.receipt(&key, ReceiptStatus::Rejected).is_some()
        })
        .await?;
        let receipt = &ada.receipts[&key];
        assert_eq!(
            receipt[0].reason.as_deref(),
            Some(reason),
            "{} chars",
            content.len()
        );
        assert_eq!(receipt.len(), 1, "{receipt:?}");
    }
    // 500 scalar values of four bytes each, trimmed, are allowed.
    ada.post_durable(&format!("  {}  ", "😀".repeat(500)), SOON)
        .await?;

    // Without a join, without a token, to a stream that is not there.
    let nowhere = StreamId::new("no-such-stream")?;
    for (stream, joins, options, expected) in [
        (&demo, false, &options, "not_joined"),
        (&demo, true, &Options::default(), "unauthenticated"),
        (&nowhere, true, &options, "stream_not_found"),
    ] {
        let mut viewer = Viewer::connect(&dev.endpoint()?, stream, options).await?;
        if joins {
            viewer.join(None).await?;
        } else {
            // Or it would be closed for saying nothing.
            viewer.client().ping(json!(null)).await?;
        }
        viewer
            .wait("an answer", SOON, |viewer| {
                !viewer.pongs.is_empty() || !viewer.errors.is_empty() || viewer.joined.is_some()
            })
            .await?;
        let key = viewer.post("refused").await?;
        viewer
            .wait("rejected", SOON, |viewer| {
                viewer.receipt(&key, ReceiptStatus::Rejected).is_some()
            })
            .await?;
        let receipts = &viewer.receipts[&key];
        assert_eq!(receipts.len(), 1, "{receipts:?}");
        assert_eq!(receipts[0].reason.as_deref(), Some(expected));
        assert_eq!(viewer.closed, None);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_reactions_in_one_message_are_refused_and_many_messages_end_the_connection()
-> Result<()> {
    let dev = Dev::shared();
    let mut ada = dev
        .writer("ada-millions", "user", Options::default())
        .await?;
    let before = ada.reactions.get("sad").copied().unwrap_or(0);
    ada.react("sad", 1_000_000).await?;
    ada.wait("an error", SOON, |ada| !ada.errors.is_empty())
        .await?;
    // What was refused is not counted: only the one that follows is.
    ada.react("sad", 1).await?;
    ada.wait("one", SOON, |ada| {
        ada.reactions.get("sad").copied() == Some(before + 1)
    })
    .await?;
    ada.react("no such reaction!", 1).await?;
    ada.wait("a second error", SOON, |ada| ada.errors.len() == 2)
        .await?;

    let msgpack = Options::default().encoding(Encoding::MsgPack);
    let mut flooder = dev.writer("flood-reacts", "user", msgpack).await?;
    for _ in 0..2_000 {
        if flooder.react("angry", 20).await.is_err() {
            break;
        }
    }
    let close = flooder.wait_closed(SOON).await?;
    assert!(matches!(close.code(), Some(4429) | None), "{close:?}");
    let mut watcher = dev.viewer(&dev.demo()?, &Options::default()).await?;
    watcher.watch_for(Duration::from_secs(1)).await;
    let counted = watcher.reactions.get("angry").copied().unwrap_or(0);
    assert!(
        counted <= 2_000,
        "a user's reactions are limited, but {counted} count"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_counted() -> Result<()> {
    let dev = Dev::shared();
    let series = [
        "chorus_edge_closed_total{code=\"1002\"}",
        "chorus_edge_session_messages_malformed_total",
    ];
    let count = || async {
        let mut counts = Vec::new();
        for name in series {
            counts.push(dev.metric(Part::Edge, name).await.ok()?.unwrap_or(0.0));
        }
        Some(counts)
    };
    let before = count().await.context("metrics")?;
    let mut raw = joined(dev).await?;
    raw.frame(opcode::TEXT, b"{").await?;
    message_of(&mut raw, "error").await?;
    raw.unmasked(opcode::TEXT, PING).await?;
    raw.close_code(SOON).await?;
    eventually("each is counted", SOON, || async {
        let now = count().await?;
        now.iter()
            .zip(&before)
            .all(|(now, before)| now > before)
            .then_some(())
    })
    .await
}
