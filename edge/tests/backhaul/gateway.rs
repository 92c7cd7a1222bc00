//! A gateway whose every word the test decides; only the welcome is its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::backhaul::{
    ALPN, Datagram, Held, Lane, Publish, Published, Request, Response, ToGateway, ToPop, VERSIONS,
    read_frame, split_frame, write_bare, write_frame, write_quiet,
};
use chorus_protocol::presence::{Pop, PopState};
use chorus_protocol::session::Delivery;
use chorus_protocol::{Millis, Outcome, StreamId};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::keys::{Authority, SERVER_NAME};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the gateway saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Control(ToGateway),
    Publish(Publish),
    Request(Box<Request>, SendStream),
    Datagram(Datagram),
}

/// A PoP that was welcomed.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    control: SendStream,
    posts: Option<SendStream>,
    posts_lane: mpsc::UnboundedReceiver<SendStream>,
    seen: mpsc::UnboundedReceiver<Seen>,
    aside: Vec<Seen>,
    lanes: HashMap<StreamId, SendStream>,
    quiet: Option<SendStream>,
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    endpoint: Endpoint,
    lease_ms: u64,
    worker: u16,
    version: u16,
}

impl Gateway {
    pub(crate) fn start(authority: &Authority) -> Self {
        Self::with_lease(authority, 7, 60_000)
    }

    pub(crate) fn with_lease(authority: &Authority, worker: u16, lease_ms: u64) -> Self {
        let identity = authority.identity(SERVER_NAME);
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(authority.ca()).expect("a certificate"))
            .expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        )
        .build()
        .expect("a verifier");
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![CertificateDer::from_pem_file(&identity.cert).expect("a certificate")],
                PrivateKeyDer::from_pem_file(&identity.key).expect("a key"),
            )
            .expect("a certificate and its key");
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let tls = QuicServerConfig::try_from(tls).expect("for QUIC");
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(tls));
        let mut transport = quinn::TransportConfig::default();
        transport.max_concurrent_bidi_streams(1_000_u32.into());
        server.transport_config(Arc::new(transport));
        let endpoint =
            Endpoint::server(server, "127.0.0.1:0".parse().expect("an address")).expect("a socket");
        Self {
            address: endpoint.local_addr().expect("bound"),
            endpoint,
            lease_ms,
            worker,
            version: VERSIONS[1],
        }
    }

    /// One that welcomes with this version.
    pub(crate) fn with_version(self, version: u16) -> Self {
        Self { version, ..self }
    }

    /// Waits for a PoP and welcomes it.
    pub(crate) async fn peer(&self) -> Peer {
        tokio::time::timeout(PATIENCE, self.try_peer())
            .await
            .expect("a PoP within time")
    }

    async fn try_peer(&self) -> Peer {
        loop {
            let Ok(connection) = self.endpoint.accept().await.expect("open").await else {
                continue;
            };
            let Ok((mut control, mut down)) = connection.accept_bi().await else {
                continue;
            };
            let mut buffer = Vec::new();
            assert_eq!(read(&mut down, &mut buffer).await, Some(Lane::Control));
            let hello: Option<ToGateway> = read(&mut down, &mut buffer).await;
            assert!(
                matches!(hello, Some(ToGateway::Hello { versions, .. }) if versions == VERSIONS),
                "{hello:?}"
            );
            let now = wall();
            let welcome = ToPop::Welcome {
                version: self.version,
                region: "eu".parse().expect("a region"),
                now_ms: now,
                worker: self.worker,
                until_ms: now.plus(self.lease_ms),
            };
            send(&mut control, &welcome).await;
            let (sender, seen) = mpsc::unbounded_channel();
            let (lane_sender, posts_lane) = mpsc::unbounded_channel();
            tokio::spawn(watch_control(down, buffer, sender.clone()));
            tokio::spawn(watch_lanes(connection.clone(), sender.clone(), lane_sender));
            tokio::spawn(watch_datagrams(connection.clone(), sender));
            return Peer {
                connection,
                control,
                posts: None,
                posts_lane,
                seen,
                aside: Vec::new(),
                lanes: HashMap::new(),
                quiet: None,
            };
        }
    }

    /// How many connections were tried and refused by the handshake within `time`.
    pub(crate) async fn refused_within(&self, time: Duration) -> usize {
        let mut refused = 0;
        let watch = async {
            loop {
                match self.endpoint.accept().await.expect("open").await {
                    Ok(connection) => {
                        // A client that rejects the server's certificate says so after this side is done.
                        connection.closed().await;
                        refused += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        };
        let _ = tokio::time::timeout(time, watch).await;
        refused
    }
}

impl Peer {
    /// The next thing seen that `pick` takes; others are kept for later.
    pub(crate) async fn next<T>(&mut self, mut pick: impl FnMut(Seen) -> Result<T, Seen>) -> T {
        for at in 0..self.aside.len() {
            match pick(self.aside.remove(at)) {
                Ok(found) => return found,
                Err(other) => self.aside.insert(at, other),
            }
        }
        loop {
            let seen = tokio::time::timeout(PATIENCE, self.seen.recv())
                .await
                .unwrap_or_else(|_| panic!("nothing more within time; put aside: {:?}", self.aside))
                .expect("the connection is open");
            match pick(seen) {
                Ok(found) => return found,
                Err(other) => self.aside.push(other),
            }
        }
    }

    pub(crate) async fn hold(&mut self) -> (StreamId, Option<chorus_protocol::Position>) {
        self.next(|seen| match seen {
            Seen::Control(ToGateway::Hold { stream, have, .. }) => Ok((stream, have)),
            other => Err(other),
        })
        .await
    }

    pub(crate) async fn publish(&mut self) -> Publish {
        self.next(|seen| match seen {
            Seen::Publish(publish) => Ok(publish),
            other => Err(other),
        })
        .await
    }

    pub(crate) async fn request(&mut self) -> (Request, SendStream) {
        self.next(|seen| match seen {
            Seen::Request(request, lane) => Ok((*request, lane)),
            other => Err(other),
        })
        .await
    }

    pub(crate) async fn control(&mut self, message: &ToPop) {
        send(&mut self.control, message).await;
    }

    pub(crate) async fn held(&mut self, stream: &StreamId, held: Held) {
        let stream = stream.clone();
        self.control(&ToPop::Held { stream, held }).await;
    }

    pub(crate) async fn raw_control(&mut self, bytes: &[u8]) {
        let _ = self.control.write_all(bytes).await;
    }

    pub(crate) async fn deliver(&mut self, stream: &StreamId, delivery: &Delivery) {
        if !self.lanes.contains_key(stream) {
            let mut lane = self.connection.open_uni().await.expect("a lane");
            let stream = stream.clone();
            send(
                &mut lane,
                &Lane::Deliveries {
                    stream: stream.clone(),
                },
            )
            .await;
            self.lanes.insert(stream, lane);
        }
        let lane = self.lanes.get_mut(stream).expect("just opened");
        send(lane, delivery).await;
    }

    /// Delivers over the quiet lane.
    pub(crate) async fn deliver_quietly(&mut self, stream: &StreamId, delivery: &Delivery) {
        let mut bytes = Vec::new();
        let lane = match &mut self.quiet {
            Some(lane) => lane,
            None => {
                write_frame(&Lane::Quiet, &mut bytes).expect("encodes");
                let lane = self.connection.open_uni().await.expect("a lane");
                self.quiet.insert(lane)
            }
        };
        let delivery = rmp_serde::to_vec_named(delivery).expect("encodes");
        write_quiet(stream, &delivery, &mut bytes).expect("fits");
        lane.write_all(&bytes).await.expect("written");
    }

    pub(crate) async fn published(&mut self, request: u64, outcome: Outcome) {
        if self.posts.is_none() {
            self.posts = self.posts_lane.recv().await;
        }
        let lane = self.posts.as_mut().expect("a posts lane");
        send(lane, &Published { request, outcome }).await;
    }

    pub(crate) fn datagram(&self, datagram: &Datagram) {
        let bytes = write_bare(datagram).expect("encodes");
        self.connection.send_datagram(bytes.into()).expect("sent");
    }

    /// Whether nothing that `unwanted` describes has been seen so far.
    pub(crate) fn saw_no(&mut self, unwanted: impl Fn(&Seen) -> bool) -> bool {
        while let Ok(seen) = self.seen.try_recv() {
            self.aside.push(seen);
        }
        !self.aside.iter().any(unwanted)
    }
}

pub(crate) async fn answer(mut lane: SendStream, response: &Response) {
    send(&mut lane, response).await;
    lane.finish().expect("open");
}

async fn watch_control(
    mut lane: RecvStream,
    mut buffer: Vec<u8>,
    seen: mpsc::UnboundedSender<Seen>,
) {
    while let Some(message) = read(&mut lane, &mut buffer).await {
        let _ = seen.send(Seen::Control(message));
    }
}

async fn watch_lanes(
    connection: Connection,
    seen: mpsc::UnboundedSender<Seen>,
    posts: mpsc::UnboundedSender<SendStream>,
) {
    while let Ok((up, mut down)) = connection.accept_bi().await {
        let (seen, posts) = (seen.clone(), posts.clone());
        tokio::spawn(async move {
            let mut buffer = Vec::new();
            match read(&mut down, &mut buffer).await {
                Some(Lane::Posts) => {
                    let _ = posts.send(up);
                    while let Some(publish) = read(&mut down, &mut buffer).await {
                        let _ = seen.send(Seen::Publish(publish));
                    }
                }
                Some(Lane::Request) => {
                    let request = read(&mut down, &mut buffer).await;
                    if let Some(Request::Pops) = request {
                        // Asked by itself, again and again.
                        answer(up, &Response::Pops(vec![listed()])).await;
                    } else if let Some(request) = request {
                        let _ = seen.send(Seen::Request(Box::new(request), up));
                    }
                }
                other => panic!("an unexpected lane: {other:?}"),
            }
        });
    }
}

/// The PoP that this gateway lists.
pub(crate) fn listed() -> Pop {
    Pop {
        pop: "other".parse().expect("a PoP"),
        region: "us".parse().expect("a region"),
        url: Some("https://other.example".to_owned()),
        connections: 7,
        state: PopState::Serving,
        since_ms: Millis(1),
    }
}

async fn watch_datagrams(connection: Connection, seen: mpsc::UnboundedSender<Seen>) {
    while let Ok(bytes) = connection.read_datagram().await {
        let datagram = read_frame(&bytes).expect("a datagram");
        let _ = seen.send(Seen::Datagram(datagram));
    }
}

pub(crate) async fn send<T: Serialize>(lane: &mut SendStream, message: &T) {
    let mut bytes = Vec::new();
    write_frame(message, &mut bytes).expect("encodes");
    lane.write_all(&bytes).await.expect("written");
}

async fn read<T: DeserializeOwned>(lane: &mut RecvStream, buffer: &mut Vec<u8>) -> Option<T> {
    loop {
        if let Some((frame, rest)) = split_frame(buffer).expect("sane") {
            let message = read_frame(frame).expect("readable");
            *buffer = rest.to_vec();
            return Some(message);
        }
        let chunk: Bytes = lane.read_chunk(1 << 20, true).await.ok()??.bytes;
        buffer.extend_from_slice(&chunk);
    }
}

pub(crate) fn wall() -> Millis {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    Millis(since.as_millis() as u64)
}
