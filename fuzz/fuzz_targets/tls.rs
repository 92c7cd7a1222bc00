//! A viewer's TLS connection against a real client whose bytes are cut, changed, left out and put in between, before,
//! during and after the handshake: never a panic, and as long as nothing but cuts is done to them, nothing lost.
//!
//! After the handshake the client's records may also be made by hand, so that messages are cut across records. The
//! input is a list of deeds of two bytes each: what is done, and how much.
#![no_main]

#[path = "../../edge/tests/shard/records.rs"]
mod records;
#[path = "../../edge/src/tls/session.rs"]
mod session;

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use records::{CLOSE_NOTIFY, KEY_UPDATE, Records};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ClientConnection, ContentType, RootCertStore, ServerConfig};
use session::{Progress, Session};

const CERT: &[u8] = include_bytes!("../tls/cert.der");
const KEY: &[u8] = include_bytes!("../tls/key.der");

/// As `edge/src/tls/config.rs` makes it of files.
static SERVER: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let key = PrivateKeyDer::try_from(KEY).expect("a key");
    let mut config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(CERT)], key)
            .expect("a pair");
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
});

/// Clients whose messages come whole, and in records of so few bytes that every message of the handshake is cut.
static CLIENTS: LazyLock<[Arc<ClientConfig>; 2]> = LazyLock::new(|| {
    [None, Some(32)].map(|size| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(CERT)).expect("a root");
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.max_fragment_size = size;
        config.enable_secret_extraction = true;
        Arc::new(config)
    })
});

/// Who speaks to the server.
enum Client {
    Library(Box<ClientConnection>),
    ByHand(Box<Records>),
}

struct Wire {
    client: Client,
    server: Session,
    /// On its way to the server.
    up: Vec<u8>,
    /// Bytes that the client has said and the server has read, and the other way.
    said: usize,
    read: usize,
    sealed: usize,
    heard: usize,
    /// Something but a cut was done to the client's bytes, or a message is in a place where it is not allowed.
    foul: bool,
    /// Key updates of the client.
    updates: usize,
    failed: bool,
    ended: bool,
    /// The client has said that it ends, or has failed: it must read no more, and then nor does the harness.
    deaf: bool,
}

impl Wire {
    fn new(small: bool) -> Self {
        let name = ServerName::try_from("pop.example").expect("a name");
        let config = Arc::clone(&CLIENTS[usize::from(small)]);
        let client = ClientConnection::new(config, name).expect("a client");
        Self {
            client: Client::Library(Box::new(client)),
            server: Session::new(Arc::clone(&SERVER)).expect("a server"),
            up: Vec::new(),
            said: 0,
            read: 0,
            sealed: 0,
            heard: 0,
            foul: false,
            updates: 0,
            failed: false,
            ended: false,
            deaf: false,
        }
    }

    /// What the client has to send goes on its way.
    fn collect(&mut self) {
        if let Client::Library(client) = &mut self.client {
            while client.wants_write() {
                client.write_tls(&mut self.up).expect("memory");
            }
        }
    }

    /// The server gets the first `count` bytes that are on their way.
    fn deliver(&mut self, count: usize) {
        let mut bytes: Vec<u8> = self.up.drain(..count.min(self.up.len())).collect();
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let received = self.server.receive(&mut bytes, &mut plain, &mut out);
        let again = self.failed;
        match received {
            Ok(progress) => {
                assert!(!again, "a session that has failed stays so");
                assert_eq!(
                    progress == Progress::PeerClosed,
                    self.server.peer_has_closed() || self.ended
                );
                assert!(plain.iter().all(|byte| *byte == b'c') || self.foul);
                self.read += plain.len();
            }
            Err(error) => {
                assert!(self.foul || again, "of good bytes: {error}");
                assert!(!again || out.is_empty());
                self.failed = true;
            }
        }
        self.hear(&out);
        self.collect();
    }

    /// The client gets what the server sent.
    fn hear(&mut self, mut out: &[u8]) {
        if self.deaf {
            return;
        }
        match &mut self.client {
            Client::Library(client) => {
                while !out.is_empty() && matches!(client.read_tls(&mut out), Ok(1..)) {
                    let processed = client.process_new_packets();
                    assert!(processed.is_ok() || self.foul, "{processed:?}");
                    if processed.is_err() {
                        self.deaf = true;
                        return;
                    }
                    let mut heard = Vec::new();
                    let _ = client.reader().read_to_end(&mut heard);
                    self.heard += heard.len();
                }
            }
            Client::ByHand(records) => {
                let opened = records.open(out);
                assert!(opened.is_ok() || self.foul, "{opened:?}");
                self.deaf = opened.is_err();
                for (typ, payload) in opened.into_iter().flatten() {
                    if typ == ContentType::ApplicationData {
                        self.heard += payload.len();
                    }
                }
            }
        }
    }

    fn seal(&mut self, size: usize) {
        let mut out = Vec::new();
        let sealed = self.server.seal(&vec![b's'; size], &mut out);
        if sealed.is_ok() {
            assert!(self.server.is_established());
            self.sealed += size;
        } else {
            assert!(out.is_empty());
        }
        self.hear(&out);
    }

    /// After the handshake, when nothing is on its way, the client's keys are taken over.
    fn take_over(&mut self) {
        let Client::Library(client) = &self.client else {
            return;
        };
        let still = self.up.is_empty() && self.updates == 0;
        if self.foul || !still || client.is_handshaking() || !self.server.is_established() {
            return;
        }
        let placeholder = Wire::new(false).client;
        if let Client::Library(client) = std::mem::replace(&mut self.client, placeholder) {
            self.client = Client::ByHand(Box::new(Records::of(*client)));
        }
    }

    fn say(&mut self, size: usize) {
        match &mut self.client {
            Client::Library(client) => {
                // Before the handshake is done it waits in the client, which takes so much and no more.
                self.said += client.writer().write(&vec![b'c'; size]).unwrap_or(0);
            }
            Client::ByHand(records) => {
                // What a record holds.
                let size = size.min(16 << 10);
                self.up
                    .extend(records.seal(ContentType::ApplicationData, &vec![b'c'; size]));
                self.foul |= size == 0;
                self.said += size;
            }
        }
    }

    /// A message of any kind by hand; what it means for the rest is not followed up.
    fn by_hand(&mut self, typ: ContentType, payload: &[u8]) {
        if let Client::ByHand(records) = &mut self.client {
            self.up.extend(records.seal(typ, payload));
            self.foul = true;
        }
    }

    fn deed(&mut self, what: u8, number: usize) {
        match what % 20 {
            // The greater part is cuts: the handshake has to come through often.
            0..=2 => self.deliver(number),
            3 | 4 => self.deliver(number * 16),
            5 => self.deliver(usize::MAX),
            6 => self.say(number),
            7 => self.say(number * 70),
            8 => self.seal(number),
            9 => self.seal(number * 150),
            10 => match &mut self.client {
                Client::Library(client) => {
                    // The client's side of the handshake may not be done.
                    if client.refresh_traffic_keys().is_ok() {
                        self.updates += 1;
                    }
                    // The library takes many without data between them for an attack.
                    self.foul |= self.updates > 16;
                }
                // Its last byte may come in the next record, or never.
                Client::ByHand(_) => {
                    self.by_hand(
                        ContentType::Handshake,
                        &KEY_UPDATE[..1 + number % KEY_UPDATE.len()],
                    );
                }
            },
            11 => match &mut self.client {
                Client::Library(client) => {
                    self.foul |= client.is_handshaking();
                    client.send_close_notify();
                    self.deaf = true;
                }
                Client::ByHand(_) => self.by_hand(ContentType::Alert, &CLOSE_NOTIFY),
            },
            12 => {
                let mut out = Vec::new();
                self.server.close_notify(&mut out);
                self.ended = true;
                // The library does not put the answer to a key update before it.
                self.foul |= self.updates > 0;
                self.hear(&out);
            }
            13 => self.take_over(),
            14 => {
                let length = self.up.len();
                if let Some(byte) = self.up.get_mut(number % length.max(1)) {
                    *byte ^= 1 << (number % 8);
                    self.foul = true;
                }
            }
            15 => {
                // In front of all, so that it is within a record or a message when a part of that has been delivered.
                self.up.splice(0..0, [number as u8]);
                self.foul = true;
            }
            16 => {
                let record = [
                    [22, 3, 1, 0, 1, number as u8],
                    [20, 3, 3, 0, 1, 1],
                    [21, 3, 3, 0, 1, 2],
                ];
                self.up.splice(0..0, record[number % 3]);
                self.foul = true;
            }
            17 => {
                let count = number.min(self.up.len());
                self.foul |= count > 0;
                self.up.drain(..count);
            }
            18 => self.by_hand(
                ContentType::Handshake,
                &KEY_UPDATE[number % KEY_UPDATE.len()..],
            ),
            _ => self.by_hand(
                ContentType::from(number as u8),
                &[number as u8; 3][..number % 4],
            ),
        }
        self.collect();
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, deeds)) = bytes.split_first() else {
        return;
    };
    let mut wire = Wire::new(first & 1 != 0);
    wire.collect();
    if first & 2 != 0 {
        // Straight to what comes after the handshake.
        for _ in 0..4 {
            wire.deliver(usize::MAX);
        }
        if first & 4 != 0 {
            wire.take_over();
        }
    }
    for deed in deeds.chunks_exact(2).take(400) {
        wire.deed(deed[0], deed[1].into());
    }
    for _ in 0..4 {
        wire.deliver(usize::MAX);
    }
    if !wire.foul && !wire.ended && !wire.server.peer_has_closed() {
        assert!(wire.server.is_established());
        assert_eq!(wire.read, wire.said);
        assert_eq!(wire.heard, wire.sealed);
    }
});
