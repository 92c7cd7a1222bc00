//! Viewers over TLS 1.3.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ContentType, RootCertStore, StreamOwned};

use crate::client::{Client, Got, connect, frame, text};
use crate::harness::{Choice, Running, eventually};
use crate::records::{CLOSE_NOTIFY, KEY_UPDATE, Records};

pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn start(queue_bytes_max: usize) -> (Running, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["pop.example".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = Some(chorus_edge::tls::server_config(&cert, &key).unwrap());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut client =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    client.enable_secret_extraction = true;
    (
        Choice {
            tls,
            queue_bytes_max,
            ..Choice::default()
        }
        .start(),
        Arc::new(client),
    )
}

pub(crate) fn dial(address: SocketAddr, config: &Arc<ClientConfig>) -> Stream {
    let name = ServerName::try_from("pop.example").unwrap();
    StreamOwned::new(
        ClientConnection::new(Arc::clone(config), name).unwrap(),
        connect(address),
    )
}

#[test]
fn fan_out_to_a_hundred_viewers() {
    let (shard, config) = start(1 << 20);
    let mut viewers: Vec<_> = (0..100)
        .map(|_| Client::upgrade(dial(shard.address, &config), ""))
        .collect();
    eventually("all are open", || shard.metrics.connections.get() == 100);
    for round in 0..10 {
        viewers[0].say(&format!("say round {round} {}", "x".repeat(400)));
    }
    for viewer in &mut viewers {
        for round in 0..10 {
            let Got::Text(text) = viewer.word() else {
                panic!("no text");
            };
            assert!(text.starts_with(&format!("round {round} ")));
        }
    }
    let viewer = &mut viewers[1];
    viewer.raw(&frame(0x88, &1000u16.to_be_bytes()));
    assert_eq!(viewer.word(), Got::Close(1000));
    assert_eq!(viewer.word(), Got::End);
}

#[test]
fn a_slow_reader_gets_good_records_to_its_last() {
    let (shard, config) = start(64 << 10);
    let mut reader = Client::upgrade(dial(shard.address, &config), "");
    let mut slow = Client::upgrade(dial(shard.address, &config), "");
    eventually("both are open", || shard.metrics.connections.get() == 2);
    let mut said = 0;
    while shard.metrics.queue_overflows.get() < 1 {
        reader.say(&format!("say {said} {}", "x".repeat(4_000)));
        assert!(matches!(reader.word(), Got::Text(_)));
        said += 1;
        assert!(said < 20_000, "nobody was too slow");
    }
    let mut next = 0;
    let last = loop {
        let got = slow.word();
        let Got::Text(text) = &got else {
            break got;
        };
        assert!(text.starts_with(&format!("{next} ")));
        next += 1;
    };
    assert_eq!(last, Got::Close(4408));
}

#[test]
fn plain_http_on_the_tls_port_is_dropped() {
    let (shard, config) = start(1 << 20);
    let mut socket = connect(shard.address);
    socket.write_all(b"GET /v1/ws HTTP/1.1\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes);
    assert!(bytes.len() < 16, "an alert at the most: {bytes:02x?}");
    eventually("it is counted", || shard.metrics.tls_failed.get() == 1);
    let mut viewer = Client::upgrade(dial(shard.address, &config), "");
    viewer.say("me fine");
    assert_eq!(viewer.word(), text("fine"));
}

#[test]
fn http_over_tls_is_handed_on() {
    let (mut shard, config) = start(1 << 20);
    let server = crate::http::serve(&mut shard);
    let mut stream = dial(shard.address, &config);
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("ok\n"));
    drop(server);
}

/// Opens a WebSocket whose TLS records the test makes itself.
fn by_hand(address: SocketAddr, config: &Arc<ClientConfig>) -> (TcpStream, Records) {
    let StreamOwned { conn, sock } = Client::upgrade(dial(address, config), "").socket;
    (sock, Records::of(conn))
}

/// Reads the server's next records.
fn read(socket: &mut TcpStream, records: &mut Records) -> Vec<(ContentType, Vec<u8>)> {
    let mut bytes = [0; 4_096];
    loop {
        let count = socket.read(&mut bytes).unwrap();
        assert!(count > 0, "the connection ended");
        let whole = records.open(&bytes[..count]).unwrap();
        if !whole.is_empty() {
            return whole;
        }
    }
}

/// A text frame of the server.
fn said(text: &str) -> (ContentType, Vec<u8>) {
    let mut frame = vec![0x81, u8::try_from(text.len()).unwrap()];
    frame.extend_from_slice(text.as_bytes());
    (ContentType::ApplicationData, frame)
}

#[test]
fn seven_bytes_of_a_stranger_get_an_alert_and_touch_nobody() {
    const SEVEN: [u8; 7] = [0x16, 0x03, 0x01, 0x00, 0x01, 0x02, 0x00];
    let (shard, config) = start(1 << 20);
    let mut viewer = Client::upgrade(dial(shard.address, &config), "");
    let mut followed = SEVEN.to_vec();
    followed.resize(40_000, 0);
    for (times, bytes) in (1..).zip([&SEVEN[..], &followed]) {
        let mut socket = connect(shard.address);
        socket.write_all(bytes).unwrap();
        let mut answer = [0; 7];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..6], [0x15, 0x03, 0x03, 0x00, 0x02, 0x02], "fatal");
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        assert!(rest.is_empty(), "and nothing else: {rest:02x?}");
        eventually("it is counted", || shard.metrics.tls_failed.get() == times);
    }
    viewer.say("me untouched");
    assert_eq!(viewer.word(), text("untouched"));
    assert_eq!(shard.metrics.connection_panics.get(), 0);
    assert_eq!(shard.metrics.shard_panics.get(), 0);
    eventually("the strangers are gone", || shard.pop.sockets() == 1);
}

#[test]
fn a_key_update_cut_behind_a_message_costs_nothing() {
    let (shard, config) = start(1 << 20);
    let mut viewer = Client::upgrade(dial(shard.address, &config), "");
    let (mut socket, mut records) = by_hand(shard.address, &config);
    let mut bytes = records.seal(
        ContentType::ApplicationData,
        &frame(0x81, b"me before it is whole"),
    );
    bytes.extend(records.seal(ContentType::Handshake, &KEY_UPDATE[..1]));
    socket.write_all(&bytes).unwrap();
    assert_eq!(
        read(&mut socket, &mut records),
        [said("before it is whole")]
    );
    // The server seals frames, also of a broadcast, while a message is incomplete; the record is cut within its header.
    let rest = records.seal(ContentType::Handshake, &KEY_UPDATE[1..]);
    socket.write_all(&rest[..3]).unwrap();
    viewer.say("say to all");
    assert_eq!(viewer.word(), text("to all"));
    assert_eq!(read(&mut socket, &mut records), [said("to all")]);
    socket.write_all(&rest[3..]).unwrap();
    viewer.say("say after it");
    assert_eq!(viewer.word(), text("after it"));
    assert_eq!(read(&mut socket, &mut records), [said("after it")]);
    assert_eq!(shard.metrics.connection_panics.get(), 0);
    assert_eq!(shard.metrics.tls_failed.get(), 0);
    assert_eq!(shard.metrics.connections.get(), 2);
}

#[test]
fn bytes_behind_a_close_notify_are_thrown_away() {
    let (shard, config) = start(1 << 20);
    let mut viewer = Client::upgrade(dial(shard.address, &config), "");
    let (mut socket, mut records) = by_hand(shard.address, &config);
    let mut bytes = records.seal(ContentType::ApplicationData, &frame(0x81, b"say the last"));
    bytes.extend(records.seal(ContentType::Alert, &CLOSE_NOTIFY));
    bytes.extend(records.seal(ContentType::ApplicationData, &frame(0x81, b"say nothing")));
    bytes.extend([0x16, 0x03, 0x01, 0x00, 0x01, 0x02, 0x00]);
    socket.write_all(&bytes).unwrap();
    assert_eq!(viewer.word(), text("the last"));
    eventually("it is gone", || shard.metrics.connections.get() == 1);
    viewer.say("say that is all");
    assert_eq!(viewer.word(), text("that is all"));
    assert_eq!(shard.metrics.connection_panics.get(), 0);
    assert_eq!(shard.metrics.tls_failed.get(), 0);
}

#[test]
fn viewers_over_tls_get_their_1001_when_the_shard_panics() {
    let (shard, config) = start(1 << 20);
    let mut viewers: Vec<_> = (0..3)
        .map(|_| Client::upgrade(dial(shard.address, &config), ""))
        .collect();
    viewers[0].say("say before");
    for viewer in &mut viewers {
        assert_eq!(viewer.word(), text("before"));
    }
    viewers[1].say("panic over TLS");
    for viewer in &mut viewers {
        assert_eq!(viewer.word(), Got::Close(1001));
        assert_eq!(viewer.word(), Got::End);
    }
    let mut next = Client::upgrade(dial(shard.address, &config), "");
    next.say("me anew");
    assert_eq!(next.word(), text("anew"));
}
