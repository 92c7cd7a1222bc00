//! The same over TLS 1.3.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::{Client, Got, connect, frame, text};
use crate::harness::{Choice, Running, eventually};

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
    let client =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
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
