//! Upgrades on connections that had other requests before, as from proxies and browsers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::client::{Client, Got, connect, frame, open, text};
use crate::harness::{Choice, eventually, start};
use crate::http::{SCRIPT_BYTES, get, serve};

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// An upgrade with these additional fields.
pub(crate) fn upgrade(version: &str, fields: &str) -> String {
    format!(
        "GET /v1/ws {version}\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}

/// Reads one answer with a `Content-Length`.
fn answer(socket: &mut impl Read) -> String {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).unwrap();
        read.extend_from_slice(&byte);
    }
    let head = String::from_utf8(read).unwrap();
    let length = head.lines().find_map(|line| {
        let line = line.to_ascii_lowercase();
        line.strip_prefix("content-length: ")?.parse().ok()
    });
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// Opens a connection and does one request on it.
fn used(address: SocketAddr) -> TcpStream {
    let mut socket = connect(address);
    socket.write_all(HEALTH.as_bytes()).unwrap();
    assert!(answer(&mut socket).starts_with("HTTP/1.1 200 "));
    socket
}

/// Does requests, an upgrade and messages on a byte stream.
fn used_then_upgraded<S: Read + Write>(mut socket: S) -> Client<S> {
    for _ in 0..3 {
        socket.write_all(HEALTH.as_bytes()).unwrap();
        let answer = answer(&mut socket);
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"),
            "{answer}"
        );
        assert!(!answer.contains("connection: close"), "{answer}");
    }
    let mut viewer = Client::upgrade(socket, "");
    viewer.say("me fine");
    assert_eq!(viewer.word(), text("fine"));
    viewer
}

#[test]
fn an_upgrade_on_a_used_connection_is_answered_like_a_first_one() {
    let mut shard = start();
    let server = serve(&mut shard);
    let mut used = used_then_upgraded(connect(shard.address));
    let first = open(shard.address);
    assert_eq!(used.answer, first.answer);
    assert_eq!(server.counted("http_returned_total"), 1);
    eventually("both are viewers", || shard.metrics.connections.get() == 2);
    used.raw(&frame(0x88, &1000u16.to_be_bytes()));
    assert_eq!(used.word(), Got::Close(1000));
    assert_eq!(used.word(), Got::End);
}

#[test]
fn an_upgrade_on_a_used_connection_over_tls() {
    let (mut shard, config) = crate::tls::start(1 << 20);
    let _server = serve(&mut shard);
    let mut viewer = used_then_upgraded(crate::tls::dial(shard.address, &config));
    viewer.say("me again");
    assert_eq!(viewer.word(), text("again"));
    // Pipelined in one record, followed by a frame.
    let mut stream = crate::tls::dial(shard.address, &config);
    let mut packet = format!("{HEALTH}{}", upgrade("HTTP/1.1", "")).into_bytes();
    packet.extend_from_slice(&frame(0x81, b"me early"));
    stream.write_all(&packet).unwrap();
    assert!(answer(&mut stream).starts_with("HTTP/1.1 200 "));
    assert!(answer(&mut stream).starts_with("HTTP/1.1 101 "));
    let mut frame = [0; 7];
    stream.read_exact(&mut frame).unwrap();
    assert_eq!(&frame, b"\x81\x05early");
}

#[test]
fn an_upgrade_in_the_same_packet_as_a_request_before_and_a_frame_behind() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let mut socket = connect(shard.address);
    let mut packet = format!("{HEALTH}{HEALTH}{}", upgrade("HTTP/1.1", "")).into_bytes();
    packet.extend_from_slice(&frame(0x81, b"me early"));
    socket.write_all(&packet).unwrap();
    for expected in ["HTTP/1.1 200 ", "HTTP/1.1 200 ", "HTTP/1.1 101 "] {
        let answer = answer(&mut socket);
        assert!(answer.starts_with(expected), "{answer}");
    }
    let mut frame = [0; 7];
    socket.read_exact(&mut frame).unwrap();
    assert_eq!(&frame, b"\x81\x05early");
}

#[test]
fn an_answer_that_is_taken_slowly_comes_whole_before_the_101() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let mut socket = connect(shard.address);
    let film = "GET /film.bin HTTP/1.1\r\nHost: x\r\n\r\n";
    let packet = format!("{film}{}", upgrade("HTTP/1.1", ""));
    socket.write_all(packet.as_bytes()).unwrap();
    let film = answer(&mut socket);
    assert!(film.starts_with("HTTP/1.1 200 ") && film.len() > SCRIPT_BYTES);
    assert!(answer(&mut socket).starts_with("HTTP/1.1 101 "));
}

#[test]
fn http_1_0_is_kept_alive_when_asked_and_never_upgraded() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let mut socket = connect(shard.address);
    for _ in 0..2 {
        socket
            .write_all(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .unwrap();
        let answer = answer(&mut socket);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("connection: keep-alive\r\n"), "{answer}");
    }
    socket
        .write_all(upgrade("HTTP/1.0", "").as_bytes())
        .unwrap();
    let refused = answer(&mut socket);
    assert!(refused.starts_with("HTTP/1.1 426 "), "{refused}");
    assert_eq!(socket.read(&mut [0]).unwrap(), 0, "it ends with a refusal");
    let mut socket = connect(shard.address);
    socket.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut once = String::new();
    socket.read_to_string(&mut once).unwrap();
    assert!(once.contains("connection: close\r\n"), "{once}");
}

#[test]
fn a_used_connection_ends_with_the_pop_like_any_other() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let mut viewer = used_then_upgraded(connect(shard.address));
    let mut idle = used(shard.address);
    shard.drain(0);
    assert_eq!(viewer.word(), Got::Close(1001));
    drop(viewer);
    shard.ended();
    let end = idle.read(&mut [0]).unwrap();
    assert_eq!(end, 0, "an idle connection ends with the last shard");
}

#[test]
fn during_a_drain_upgrades_are_refused_and_readiness_says_no() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let before = used(shard.address);
    // Other viewers keep the shard running during its drain.
    let _others = [open(shard.address), open(shard.address)];
    shard.pop.drain();
    shard.drain(20_000);
    for mut socket in [before, connect(shard.address)] {
        socket
            .write_all(upgrade("HTTP/1.1", "").as_bytes())
            .unwrap();
        let refused = answer(&mut socket);
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.contains("Retry-After: "), "{refused}");
        assert_eq!(socket.read(&mut [0]).unwrap(), 0, "it ends with a refusal");
    }
    let mut socket = connect(shard.address);
    socket
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let not_ready = answer(&mut socket);
    assert!(not_ready.starts_with("HTTP/1.1 503 "), "{not_ready}");
}

#[test]
fn large_cookies_many_fields_and_other_harmless_things_are_upgraded() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let plain = upgrade("HTTP/1.1", "");
    let cookie = |length: usize| format!("Cookie: {}\r\n", "c".repeat(length));
    for (name, request) in [
        ("a large cookie", upgrade("HTTP/1.1", &cookie(9_000))),
        ("a very large cookie", upgrade("HTTP/1.1", &cookie(31_000))),
        (
            "many fields",
            upgrade("HTTP/1.1", &"X-Field: x\r\n".repeat(120)),
        ),
        (
            "no subprotocol",
            upgrade("HTTP/1.1", "Sec-WebSocket-Protocol: \r\n"),
        ),
        (
            "a body of nothing",
            upgrade("HTTP/1.1", "Content-Length: 0\r\n"),
        ),
        (
            "an absolute target",
            plain.replace("/v1/ws", "http://pop.example/v1/ws"),
        ),
        (
            "a key with spare bits",
            plain.replace("ub25jZQ==", "ub25jZR=="),
        ),
        (
            "lists",
            upgrade(
                "HTTP/1.1",
                "Upgrade: h2c\r\nConnection: keep-alive , upGrade\r\n",
            )
            .replace("Connection: Upgrade\r\n", ""),
        ),
    ] {
        for mut socket in [connect(shard.address), used(shard.address)] {
            socket.write_all(request.as_bytes()).unwrap();
            let answer = answer(&mut socket);
            assert!(answer.starts_with("HTTP/1.1 101 "), "{name}: {answer}");
            assert!(!answer.contains("Protocol:"), "{name}: {answer}");
        }
    }
}

#[test]
fn what_the_rfcs_forbid_is_refused_on_every_connection() {
    let mut shard = start();
    let _server = serve(&mut shard);
    let more = |fields: &str| upgrade("HTTP/1.1", fields);
    let plain = more("");
    let instead = |from: &str, to: &str| plain.replace(from, to);
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let long = format!("Cookie: {}\r\n", "c".repeat(33_000));
    for (name, status, request) in [
        ("no host", 400, instead("Host: x\r\n", "")),
        ("two hosts", 400, more("Host: x\r\n")),
        ("an invalid host", 400, instead("Host: x", "Host: a b")),
        ("an empty host", 400, instead("Host: x", "Host:")),
        (
            "two keys",
            400,
            more(&format!("Sec-WebSocket-Key: {key}\r\n")),
        ),
        (
            "no key",
            400,
            instead(&format!("Sec-WebSocket-Key: {key}\r\n"), ""),
        ),
        ("a short key", 400, instead(key, "dGhl")),
        ("a key that is none", 400, instead(key, "?")),
        ("a body", 400, more("Content-Length: 1\r\n")),
        ("chunks", 400, more("Transfer-Encoding: chunked\r\n")),
        (
            "two users",
            400,
            more("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"),
        ),
        ("a folded field", 400, more("X: a\r\n b\r\n")),
        ("a space before a colon", 400, more("X : a\r\n")),
        (
            "another subprotocol",
            400,
            more("Sec-WebSocket-Protocol: soap\r\n"),
        ),
        (
            "two origins",
            403,
            more("Origin: https://a.example\r\nOrigin: https://a.example\r\n"),
        ),
        (
            "an origin in umlauts",
            403,
            more("Origin: https://\u{e4}.example\r\n"),
        ),
        ("a POST", 405, instead("GET", "POST")),
        ("two versions", 426, more("Sec-WebSocket-Version: 13\r\n")),
        (
            "a list of versions",
            426,
            instead("Version: 13", "Version: 13, 8"),
        ),
        ("no upgrade", 426, instead("Upgrade: websocket\r\n", "")),
        (
            "no connection token",
            426,
            instead("Connection: Upgrade", "Connection: Upgraded"),
        ),
        ("too long a head", 431, more(&long)),
        ("too many fields", 431, more(&"X: x\r\n".repeat(128))),
        ("another coding", 501, more("Transfer-Encoding: gzip\r\n")),
    ] {
        let answers = [connect(shard.address), used(shard.address)].map(|mut socket| {
            // The server may close the connection before all bytes are written.
            let _ = socket.write_all(request.as_bytes());
            answer(&mut socket)
        });
        let first = &answers[0];
        assert!(
            first.starts_with(&format!("HTTP/1.1 {status} ")),
            "{name}: {first}"
        );
        assert_eq!(answers[0], answers[1], "{name}");
        for field in [
            "Content-Type: application/problem+json\r\n",
            "X-Content-Type-Options: nosniff\r\n",
            "Cache-Control: no-store\r\n",
            r#""code":""#,
        ] {
            assert!(first.contains(field), "{name}: {first}");
        }
        assert_eq!(
            first.contains("Sec-WebSocket-Version: 13\r\n"),
            status == 426,
            "{name}: {first}"
        );
    }
    assert_eq!(shard.metrics.connections.get(), 0);
    // The rules for all requests hold in the HTTP server too.
    for mut socket in [connect(shard.address), used(shard.address)] {
        socket
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            .unwrap();
        assert!(answer(&mut socket).starts_with("HTTP/1.1 400 "));
    }
    assert!(get(shard.address, "/healthz").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_used_connection_is_one_of_the_viewers_that_there_may_be() {
    let mut shard = Choice {
        connections_max: 3,
        ..Choice::default()
    }
    .start();
    let _server = serve(&mut shard);
    let mut viewers: Vec<_> = (0..3)
        .map(|_| used_then_upgraded(connect(shard.address)))
        .collect();
    let mut fourth = Client::upgrade(used(shard.address), "");
    assert_eq!(fourth.word(), Got::Close(4429));
    drop(viewers.pop());
    eventually("a place is free", || shard.metrics.connections.get() == 2);
    used_then_upgraded(connect(shard.address));
}
