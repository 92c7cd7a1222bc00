//! Conformance with RFC 6455.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::client::{Client, Got, connect, frame, open, text};
use crate::harness::{eventually, start};

#[test]
fn a_violation_closes_its_sender_with_the_right_code_and_nobody_else() {
    let shard = start();
    let mut other = open(shard.address);
    let long = vec![b'a'; 4_097];
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("unmasked", vec![0x81, 1, b'a'], 1002),
        ("RSV1 without deflate", frame(0xc1, b"a"), 1002),
        (
            "a message within a message",
            [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
            1002,
        ),
        ("a long ping", frame(0x89, &[0; 126]), 1002),
        (
            "a close code that never travels",
            frame(0x88, &1006u16.to_be_bytes()),
            1002,
        ),
        ("binary on a JSON connection", frame(0x82, b"a"), 1003),
        ("invalid UTF-8", frame(0x81, &[0xc3, 0x28]), 1007),
        ("4,097 bytes", frame(0x81, &long), 1009),
        (
            "4,097 bytes in fragments",
            [frame(0x01, &long[1..]), frame(0x80, b"a")].concat(),
            1009,
        ),
    ];
    for (what, bytes, code) in &cases {
        let mut client = open(shard.address);
        client.raw(bytes);
        assert_eq!(client.word(), Got::Close(*code), "{what}");
        assert_eq!(client.word(), Got::End, "{what}");
    }
    other.say("me still here");
    assert_eq!(other.word(), text("still here"));
    let metrics = &shard.metrics;
    assert_eq!(
        metrics.closed.iter().map(|code| code.get()).sum::<u64>(),
        cases.len() as u64
    );
    eventually("only one is left", || metrics.connections.get() == 1);
}

#[test]
fn exactly_the_limit_passes() {
    let shard = start();
    let mut client = open(shard.address);
    let message = format!("me {}", "a".repeat(4_093));
    client.say(&message);
    assert_eq!(client.word(), text(&message[3..]));
}

#[test]
fn fragments_with_control_frames_between_them_in_single_bytes() {
    let shard = start();
    let mut client = open(shard.address);
    let bytes = [
        frame(0x01, b"me o"),
        frame(0x89, b"hey"),
        frame(0x00, b"n"),
        frame(0x80, b"e"),
    ]
    .concat();
    for byte in bytes {
        client.raw(&[byte]);
    }
    assert_eq!(client.word(), Got::Pong(b"hey".to_vec()));
    assert_eq!(client.word(), text("one"));
}

#[test]
fn a_close_is_answered_with_its_code() {
    let shard = start();
    for (payload, code) in [
        (&1000u16.to_be_bytes()[..], 1000),
        (&4_000u16.to_be_bytes(), 4_000),
        (&[], 1000),
    ] {
        let mut client = open(shard.address);
        client.raw(&frame(0x88, payload));
        assert_eq!(client.word(), Got::Close(code));
        assert_eq!(client.word(), Got::End);
    }
    eventually("all are closed", || shard.metrics.connections.get() == 0);
}

#[test]
fn frames_may_come_with_the_handshake() {
    let shard = start();
    let mut bytes = b"GET /v1/ws?token=a%2eb HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    bytes.extend(frame(0x81, b"me early"));
    let mut socket = connect(shard.address);
    socket.write_all(&bytes).unwrap();
    let mut answer = vec![0; 4_096];
    let mut got = 0;
    eventually("the answer and the frame", || {
        got += std::io::Read::read(&mut socket, &mut answer[got..]).unwrap();
        answer[..got].ends_with(b"\x81\x05early")
    });
    assert!(shard.has_heard("token a.b"));
}

#[test]
fn msgpack_connections_speak_binary() {
    let shard = start();
    let mut client = Client::upgrade(
        connect(shard.address),
        "Sec-WebSocket-Protocol: chorus.v1.msgpack\r\n",
    );
    assert!(
        client
            .answer
            .contains("Sec-WebSocket-Protocol: chorus.v1.msgpack\r\n")
    );
    client.raw(&frame(0x82, b"me hi"));
    assert_eq!(client.word(), Got::Binary(b"hi".to_vec()));
    client.say("text");
    assert_eq!(client.word(), Got::Close(1003));
}

#[test]
fn half_a_handshake_is_dropped_in_time_and_counted() {
    let shard = start();
    let mut socket = connect(shard.address);
    socket.write_all(b"GET /v1/ws HTTP/1.1\r\nHost").unwrap();
    let mut silent = connect(shard.address);
    let began = Instant::now();
    for socket in [&mut socket, &mut silent] {
        let mut byte = [0];
        assert!(!matches!(std::io::Read::read(socket, &mut byte), Ok(1)));
    }
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(2_500) && took < Duration::from_secs(10),
        "{took:?}"
    );
    assert_eq!(shard.metrics.opening_timed_out.get(), 2);
}

#[test]
fn requests_that_are_no_upgrade_are_told_so() {
    let shard = start();
    let mut socket = connect(shard.address);
    socket
        .write_all(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut socket, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(answer.contains("Sec-WebSocket-Version: 13"));
}
