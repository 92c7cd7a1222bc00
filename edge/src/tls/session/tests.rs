//! A rustls client against the session, in memory.

use std::io::{Read, Write};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::tls::server_config;

fn pair(versions: &[&'static rustls::SupportedProtocolVersion]) -> (ClientConnection, Session) {
    let made =
        rcgen::generate_simple_self_signed(vec!["pop.example".to_owned()]).expect("a certificate");
    let dir = tempfile::tempdir().expect("a directory");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let config = server_config(&cert, &key).expect("a pair");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let client =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = ServerName::try_from("pop.example").expect("a name");
    (
        ClientConnection::new(Arc::new(client), name).expect("a client"),
        Session::new(config).expect("a server"),
    )
}

/// Passes the client's bytes to the server, `cut` at a time, and the answers back.
fn exchange(
    client: &mut ClientConnection,
    server: &mut Session,
    cut: usize,
) -> Result<Vec<u8>, rustls::Error> {
    let mut plain = Vec::new();
    for _ in 0..6 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        for piece in bytes.chunks_mut(cut) {
            let mut out = Vec::new();
            let received = server.receive(piece, &mut plain, &mut out);
            let mut rest = &out[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("memory");
                let _ = client.process_new_packets();
            }
            received?;
        }
    }
    Ok(plain)
}

#[test]
fn data_goes_both_ways_however_it_is_cut() {
    for cut in [1, 7, 100_000] {
        let (mut client, mut server) = pair(&[&rustls::version::TLS13]);
        exchange(&mut client, &mut server, cut).expect("a handshake");
        assert!(server.is_established());
        assert!(server.incoming.is_empty() && server.incoming.capacity() == 0);
        client.writer().write_all(&[b'q'; 40_000]).expect("queued");
        assert_eq!(
            exchange(&mut client, &mut server, cut).expect("data").len(),
            40_000
        );
        let mut out = Vec::new();
        for size in [0, 1, 200, 16_384, 16_385, 50_000] {
            server.seal(&vec![b'a'; size], &mut out).expect("sealed");
        }
        server.close_notify(&mut out);
        let mut rest = &out[..];
        let mut got = Vec::new();
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("memory");
            client.process_new_packets().expect("good records");
            let _ = client.reader().read_to_end(&mut got);
        }
        assert_eq!(got.len(), 1 + 200 + 16_384 + 16_385 + 50_000);
    }
}

#[test]
fn a_key_update_is_answered() {
    let (mut client, mut server) = pair(&[&rustls::version::TLS13]);
    exchange(&mut client, &mut server, 1_000).expect("a handshake");
    client.refresh_traffic_keys().expect("TLS 1.3");
    client.writer().write_all(b"after").expect("queued");
    assert_eq!(
        exchange(&mut client, &mut server, 1_000).expect("data"),
        b"after"
    );
    let mut out = Vec::new();
    server.seal(b"answer", &mut out).expect("sealed");
    let mut rest = &out[..];
    while !rest.is_empty() {
        client.read_tls(&mut rest).expect("memory");
        client.process_new_packets().expect("good records");
    }
    let mut got = [0; 6];
    client.reader().read_exact(&mut got).expect("the answer");
    assert_eq!(&got, b"answer");
}

#[test]
fn what_is_no_tls_13_is_refused() {
    let (mut client, mut server) = pair(&[&rustls::version::TLS12]);
    assert!(exchange(&mut client, &mut server, 1_000).is_err());
    let (_, mut server) = pair(&[&rustls::version::TLS13]);
    let mut request = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    assert!(
        server
            .receive(&mut request, &mut Vec::new(), &mut Vec::new())
            .is_err()
    );
    assert!(server.seal(b"x", &mut Vec::new()).is_err());
}

#[test]
fn a_session_that_failed_says_so_once_and_stays_failed() {
    let (_, mut server) = pair(&[&rustls::version::TLS13]);
    // An incomplete message and an invalid record: the bytes that rustls keeps of the first must not be lost.
    let mut seven = [0x16, 0x03, 0x01, 0x00, 0x01, 0x02, 0x00];
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    assert!(server.receive(&mut seven, &mut plain, &mut out).is_err());
    assert_eq!(out[..6], [0x15, 0x03, 0x03, 0x00, 0x02, 0x02]);
    assert_eq!(out.len(), 7, "one alert");
    out.clear();
    assert!(server.receive(&mut seven, &mut plain, &mut out).is_err());
    assert!(server.seal(b"x", &mut out).is_err());
    server.close_notify(&mut out);
    assert!(out.is_empty() && plain.is_empty());
    assert!(!server.is_established());
}

#[test]
fn nothing_is_read_or_sealed_after_either_side_has_ended() {
    let (mut client, mut server) = pair(&[&rustls::version::TLS13]);
    exchange(&mut client, &mut server, 1_000).expect("a handshake");
    client.writer().write_all(b"the last").expect("queued");
    client.send_close_notify();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory");
    bytes.extend([0x16, 0x03, 0x01, 0x00, 0x01, 0x02, 0x00]);
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let progress = server.receive(&mut bytes, &mut plain, &mut out);
    assert_eq!(progress, Ok(Progress::PeerClosed));
    assert_eq!(plain, b"the last");
    assert!(server.peer_has_closed() && server.incoming.is_empty());
    // We may still send data.
    server.seal(b"answer", &mut out).expect("sealed");
    server.close_notify(&mut out);
    let said = out.len();
    server.close_notify(&mut out);
    assert!(server.seal(b"x", &mut out).is_err());
    assert_eq!(out.len(), said, "it ends once");
    let again = server.receive(&mut [0xff; 40], &mut plain, &mut out);
    assert_eq!(again, Ok(Progress::PeerClosed));
}

#[test]
fn however_much_comes_behind_a_close_notify_it_is_an_end_and_no_fault() {
    let (mut client, mut server) = pair(&[&rustls::version::TLS13]);
    exchange(&mut client, &mut server, 1_000).expect("a handshake");
    client.send_close_notify();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory");
    bytes.resize(bytes.len() + 2 * INCOMING_BYTES_MAX, 0x17);
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let progress = server.receive(&mut bytes, &mut plain, &mut out);
    assert_eq!(progress, Ok(Progress::PeerClosed));
    assert!(plain.is_empty() && out.is_empty() && server.incoming.is_empty());
}
