//! Valid and invalid handshakes.

use proptest::prelude::*;

use super::*;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn request(line: &str, more: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n{more}\r\n").into_bytes()
}

fn opened(line: &str, more: &str) -> Upgrade {
    let bytes = request(line, &format!("Sec-WebSocket-Version: 13\r\n{KEY}{more}"));
    let looked = look(&bytes, &Origins::default());
    let Handshake::Upgrade(upgrade) = looked else {
        panic!("{looked:?}");
    };
    upgrade
}

fn refused(bytes: &[u8]) -> Refusal {
    let looked = look(bytes, &Origins::default());
    let Handshake::Refuse { why, head_only } = looked else {
        panic!("{looked:?}");
    };
    assert_eq!(head_only, bytes.starts_with(b"HEAD"));
    why
}

#[test]
fn the_rfcs_own_example() {
    let upgrade = opened("GET /v1/ws", "");
    let mut answer = Vec::new();
    upgrade.write_answer(&mut answer);
    let answer = String::from_utf8(answer).expect("ASCII");
    assert!(answer.starts_with("HTTP/1.1 101 "));
    assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert!(!answer.contains("Sec-WebSocket-Protocol"));
    assert_eq!(
        (upgrade.encoding, upgrade.deflate, upgrade.token),
        (Encoding::Json, false, None)
    );
}

#[test]
fn the_encoding_is_the_first_that_we_speak() {
    let upgrade = opened(
        "GET /v1/ws",
        "Sec-WebSocket-Protocol: soap, chorus.v1.msgpack, chorus.v1.json\r\n",
    );
    assert_eq!(upgrade.encoding, Encoding::MsgPack);
    let mut answer = Vec::new();
    upgrade.write_answer(&mut answer);
    assert!(
        String::from_utf8_lossy(&answer).contains("Sec-WebSocket-Protocol: chorus.v1.msgpack\r\n")
    );
    let alien = request(
        "GET /v1/ws",
        &format!("Sec-WebSocket-Version: 13\r\n{KEY}Sec-WebSocket-Protocol: soap\r\n"),
    );
    assert_eq!(refused(&alien), Refusal::Subprotocol);
}

#[test]
fn tokens_come_by_query_or_header() {
    let query = opened(
        "GET /v1/ws?x=1&token=a%2Eb.c%",
        "Authorization: Bearer other\r\n",
    );
    assert_eq!(query.token.as_deref(), Some("a.b.c%"));
    let header = opened("GET /v1/ws", "Authorization: bearer a.b.c\r\n");
    assert_eq!(header.token.as_deref(), Some("a.b.c"));
    assert_eq!(
        opened("GET /v1/ws", "Authorization: Basic a\r\n").token,
        None
    );
}

#[test]
fn deflate_is_taken_when_offered() {
    let upgrade = opened(
        "GET /v1/ws",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
    );
    assert!(upgrade.deflate);
    let lines = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n\
                 Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=15\r\n";
    let upgrade = opened("GET /v1/ws", lines);
    assert!(upgrade.deflate);
    let mut answer = Vec::new();
    upgrade.write_answer(&mut answer);
    let answer = String::from_utf8(answer).expect("ASCII");
    assert!(
        answer.contains("; server_max_window_bits=15\r\n"),
        "{answer}"
    );
    let declined = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=08\r\n";
    let upgrade = opened("GET /v1/ws", declined);
    assert!(!upgrade.deflate);
    let mut answer = Vec::new();
    upgrade.write_answer(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("Extensions"));
}

#[test]
fn what_is_no_handshake_is_told_why() {
    assert_eq!(refused(&request("GET /v1/ws", KEY)), Refusal::NoUpgrade);
    assert_eq!(
        refused(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n"),
        Refusal::NoUpgrade
    );
    assert_eq!(refused(&request("POST /v1/ws", KEY)), Refusal::Method);
    let short = request(
        "GET /v1/ws",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhl\r\n",
    );
    assert_eq!(refused(&short), Refusal::Key);
    assert_eq!(refused(&request("HEAD /v1/ws", KEY)), Refusal::Method);
    assert_eq!(
        refused(b"\x16\x03\x01\x00\xa5 TLS on the plain port"),
        Refusal::Malformed
    );
    let long = request(
        "GET /v1/ws",
        &format!("X: {}\r\n", "a".repeat(HEAD_BYTES_MAX)),
    );
    assert_eq!(refused(&long), Refusal::TooLarge);
    assert_eq!(refused(&long[..HEAD_BYTES_MAX]), Refusal::TooLarge);
    assert_eq!(
        look(&long[..HEAD_BYTES_MAX - 1], &Origins::default()),
        Handshake::Incomplete
    );
    assert_eq!(
        look(&request("GET /healthz", ""), &Origins::default()),
        Handshake::Other
    );
}

#[test]
fn origins_are_checked_where_they_are_configured() {
    let origins = Origins(Some(vec!["https://video.example".to_owned()]));
    let with = |origin: &str| {
        request(
            "GET /v1/ws",
            &format!("Sec-WebSocket-Version: 13\r\n{KEY}Origin: {origin}\r\n"),
        )
    };
    assert!(matches!(
        look(&with("https://video.example"), &origins),
        Handshake::Upgrade(_)
    ));
    assert_eq!(
        look(&with("https://evil.example"), &origins),
        Handshake::Refuse {
            why: Refusal::Origin,
            head_only: false
        }
    );
    let judge = |fields: &[&'static str]| origins.judge(fields.iter().map(|it| it.as_bytes()));
    assert_eq!(judge(&[]), Ok(None), "no page's");
    let video = "https://video.example";
    assert_eq!(judge(&[video]), Ok(Some(video)));
    assert_eq!(judge(&[video, video]), Err(OriginRefused));
    // An invalid origin is refused even if all origins are allowed.
    let any = Origins::default();
    for bad in ["", "https://v\u{ef}deo.example", "a b", "a\tb"] {
        assert_eq!(
            any.judge([bad.as_bytes()].into_iter()),
            Err(OriginRefused),
            "{bad}"
        );
    }
    assert!(any.judge([&b"\xff"[..]].into_iter()).is_err());
}

#[test]
fn refusals_are_whole_answers() {
    for refusal in Refusal::ALL {
        let mut bytes = Vec::new();
        refusal.write_answer(false, &mut bytes);
        let mut of_head = Vec::new();
        refusal.write_answer(true, &mut of_head);
        let text = String::from_utf8(bytes).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{text}"
        );
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let code = problem["code"].as_str().expect("a code");
        assert!(ErrorCode::parse(code).is_some(), "{code}");
        assert_eq!(of_head, format!("{head}\r\n\r\n").into_bytes());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, cut in 0usize..200) {
        let _ = look(&bytes, &Origins::default());
        let whole = request("GET /v1/ws?token=%e2%82%ac", &format!("Sec-WebSocket-Version: 13\r\n{KEY}"));
        let cut = cut.min(whole.len() - 1);
        prop_assert_eq!(look(&whole[..cut], &Origins::default()), Handshake::Incomplete);
    }
}
