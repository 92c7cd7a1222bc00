//! A PoP for tests: a quinn client that speaks the backhaul.

#[path = "records.rs"]
mod records;
#[path = "rest.rs"]
mod rest;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chorus_protocol::backhaul::{
    self, Datagram, Held, Lane, Publish, Published, RefusedReactions, Request, Response,
    StreamState, ToGateway, ToPop, read_frame, split_frame, split_quiet, write_frame,
};
use chorus_protocol::session::{Delivery, ReplayRange, Replayed};
use chorus_protocol::stream::Life;
use chorus_protocol::{CommentId, Millis, Outcome, Position, StreamId};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

#[allow(unused_imports, reason = "every test file uses its own part")]
pub use records::{Post, publish, reactions, record, remove, stored};

/// A CA, and a certificate each for gateway and PoP.
pub fn write_certificates(directory: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = ca.self_signed(&ca_key).unwrap();
    std::fs::write(directory.join("ca.pem"), certificate.pem()).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    for name in ["gateway", "pop"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let signed = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(directory.join(format!("{name}.pem")), signed.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

fn client(directory: &Path, with_certificate: bool) -> quinn::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(directory.join("ca.pem")).unwrap())
        .unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut tls = if with_certificate {
        let certificate = CertificateDer::from_pem_file(directory.join("pop.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(directory.join("pop.key")).unwrap();
        builder
            .with_client_auth_cert(vec![certificate], key)
            .unwrap()
    } else {
        builder.with_no_client_auth()
    };
    tls.alpn_protocols = vec![backhaul::ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    // Small, so that a test may fill it.
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(quinn::VarInt::from_u32(128 << 10));
    config.transport_config(Arc::new(transport));
    config
}

pub async fn connect(
    directory: &Path,
    port: u16,
    with_certificate: bool,
) -> Result<(Endpoint, Connection), String> {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let connecting = endpoint
        .connect_with(client(directory, with_certificate), address, "gateway")
        .unwrap();
    let connection = connecting.await.map_err(|error| error.to_string())?;
    Ok((endpoint, connection))
}

/// Connects a PoP's process to a region.
pub async fn pop(region: &super::Region, process: u64) -> Pop {
    Pop::connect(region.directory.path(), region.gateway_port, process).await
}

/// Holds the region's stream for the first time; deliveries are taken from there.
pub async fn fresh(pop: &mut Pop, region: &super::Region) -> Box<StreamState> {
    pop.fresh(&region.stream()).await
}

pub struct LaneReader {
    stream: RecvStream,
    buffer: Vec<u8>,
}

impl LaneReader {
    pub fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub async fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        let message = self.message().await?;
        Some(read_frame(&message).unwrap())
    }

    /// The next message's bytes.
    pub async fn message(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((message, rest)) = split_frame(&self.buffer).unwrap() {
                let message = message.to_vec();
                self.buffer = rest.to_vec();
                return Some(message);
            }
            let chunk = self.stream.read_chunk(1 << 20, true).await.ok()??;
            self.buffer.extend_from_slice(&chunk.bytes);
        }
    }
}

pub async fn send<T: Serialize>(stream: &mut SendStream, value: &T) {
    let mut bytes = Vec::new();
    write_frame(value, &mut bytes).unwrap();
    stream.write_all(&bytes).await.unwrap();
}

/// What the lanes of one stream brought.
#[derive(Default)]
pub struct Delivered {
    pub ids: Vec<CommentId>,
    pub at: Position,
    /// Deliveries that begin after what is there: holes, unless what comes over another lane precedes them.
    pub ahead: Vec<Delivery>,
    pub largest: usize,
}

impl Delivered {
    fn take(&mut self, delivery: Delivery) {
        self.ahead.push(delivery);
        self.ahead.sort_by_key(|delivery| delivery.from);
        for delivery in std::mem::take(&mut self.ahead) {
            let at = self.at.get(&delivery.region);
            if let Some(at) = at.filter(|at| at.epoch == delivery.epoch)
                && delivery.from > at.seq
            {
                self.ahead.push(delivery);
                continue;
            }
            let known = at.map_or(0, |at| at.seq);
            self.largest = self.largest.max(delivery.events.len());
            for event in delivery.events.iter().filter(|event| event.seq > known) {
                self.ids.push(event.envelope().unwrap().id);
            }
            let to = chorus_protocol::Offset {
                epoch: delivery.epoch,
                seq: delivery.to,
            };
            self.at.advance(&delivery.region, to);
        }
    }
}

pub struct Pop {
    pub connection: Connection,
    _endpoint: Endpoint,
    control: SendStream,
    posts: tokio::sync::Mutex<SendStream>,
    pub worker: u16,
    pub until: Millis,
    pub renewals: mpsc::UnboundedReceiver<(u16, Millis)>,
    pub held: mpsc::UnboundedReceiver<(StreamId, Held)>,
    pub lives: mpsc::UnboundedReceiver<Life>,
    pub outcomes: mpsc::UnboundedReceiver<Published>,
    pub refused: mpsc::UnboundedReceiver<Vec<RefusedReactions>>,
    pub totals: mpsc::UnboundedReceiver<Datagram>,
    pub delivered: Arc<Mutex<HashMap<StreamId, Delivered>>>,
    /// While true delivery lanes are not read.
    pub paused: watch::Sender<bool>,
    minted: u64,
}

impl Pop {
    /// Holds a stream for the first time; deliveries are taken from there.
    pub async fn fresh(&mut self, stream: &StreamId) -> Box<StreamState> {
        let Held::Fresh(state) = self.hold(stream, None).await else {
            panic!("not fresh")
        };
        self.begin(stream, &state.at);
        state
    }

    pub async fn connect(directory: &Path, port: u16, process: u64) -> Self {
        let (endpoint, connection) = connect(directory, port, true).await.unwrap();
        let (mut control, receive) = connection.open_bi().await.unwrap();
        send(&mut control, &Lane::Control).await;
        let hello = ToGateway::Hello {
            versions: backhaul::VERSIONS,
            pop: "pop1".parse().unwrap(),
            process,
            region: None,
            url: Some(format!("https://pop1-{process}.example")),
        };
        send(&mut control, &hello).await;
        let mut reader = LaneReader::new(receive);
        let Some(ToPop::Welcome {
            worker, until_ms, ..
        }) = reader.next().await
        else {
            panic!("not welcome: {:?}", connection.close_reason())
        };
        let (held_to, held) = mpsc::unbounded_channel();
        let (renewed_to, renewals) = mpsc::unbounded_channel();
        let (lives_to, lives) = mpsc::unbounded_channel();
        let (refused_to, refused) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(message) = reader.next::<ToPop>().await {
                match message {
                    ToPop::Held { stream, held } => {
                        let _ = held_to.send((stream, held));
                    }
                    ToPop::Renewed {
                        worker, until_ms, ..
                    } => {
                        let _ = renewed_to.send((worker, until_ms));
                    }
                    ToPop::Life { life, .. } => {
                        let _ = lives_to.send(*life);
                    }
                    ToPop::ReactionsRefused(refused) => {
                        let _ = refused_to.send(refused);
                    }
                    ToPop::Welcome { .. } => panic!("welcome twice"),
                }
            }
        });
        let (mut posts, receive) = connection.open_bi().await.unwrap();
        send(&mut posts, &Lane::Posts).await;
        let (outcome_to, outcomes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut reader = LaneReader::new(receive);
            while let Some(published) = reader.next::<Published>().await {
                let _ = outcome_to.send(published);
            }
        });
        let delivered: Arc<Mutex<HashMap<StreamId, Delivered>>> = Arc::default();
        let (paused, reading) = watch::channel(false);
        tokio::spawn(accept_lanes(
            connection.clone(),
            Arc::clone(&delivered),
            reading,
        ));
        let (totals_to, totals) = mpsc::unbounded_channel();
        let datagrams = connection.clone();
        tokio::spawn(async move {
            while let Ok(bytes) = datagrams.read_datagram().await {
                let _ = totals_to.send(rmp_serde::from_slice(&bytes).unwrap());
            }
        });
        Self {
            connection,
            _endpoint: endpoint,
            control,
            posts: tokio::sync::Mutex::new(posts),
            worker,
            until: until_ms,
            renewals,
            held,
            lives,
            outcomes,
            refused,
            totals,
            delivered,
            paused,
            minted: 0,
        }
    }

    pub async fn control(&mut self, message: &ToGateway) {
        send(&mut self.control, message).await;
    }

    /// Holds a stream and waits for the answer.
    pub async fn hold(&mut self, stream: &StreamId, have: Option<Position>) -> Held {
        let begin = have.clone();
        {
            let mut delivered = self.delivered.lock().unwrap();
            let entry = delivered.entry(stream.clone()).or_default();
            *entry = Delivered::default();
            if let Some(begin) = begin {
                entry.at = begin;
            }
        }
        let hold = ToGateway::Hold {
            stream: stream.clone(),
            have,
            full: false,
            knows: None,
        };
        self.control(&hold).await;
        let (of, held) = tokio::time::timeout(Duration::from_secs(10), self.held.recv())
            .await
            .expect("held in time")
            .unwrap();
        assert_eq!(of, *stream);
        held
    }

    pub fn mint(&mut self) -> CommentId {
        self.minted += 1;
        // Milliseconds apart, so that ids of one worker never meet.
        let at = Millis(chorus_origin::clock::now().0 - 60_000 + self.minted);
        CommentId::compose(at, self.worker, 0, (self.minted % 256) as u8)
    }

    pub fn comment(&mut self, stream: &StreamId, user: &str, client_id: &str) -> Post {
        let id = self.mint();
        record(id, stream, user, client_id)
    }

    pub async fn publish(&self, request: u64, record: &Post) {
        let publish = publish(request, record);
        send(&mut *self.posts.lock().await, &publish).await;
    }

    pub async fn publish_raw(&self, publish: &Publish) {
        send(&mut *self.posts.lock().await, publish).await;
    }

    /// Publishes and waits for the outcome.
    pub async fn post(&mut self, record: &Post) -> Outcome {
        self.publish(u64::MAX, record).await;
        self.outcome(u64::MAX).await
    }

    pub async fn outcome(&mut self, request: u64) -> Outcome {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(15), self.outcomes.recv());
            let published = next.await.expect("answered in time").expect("a lane");
            if published.request == request {
                return published.outcome;
            }
        }
    }

    pub async fn request(&self, request: &Request) -> Response {
        let (mut send_to, receive) = self.connection.open_bi().await.unwrap();
        send(&mut send_to, &Lane::Request).await;
        send(&mut send_to, request).await;
        send_to.finish().unwrap();
        let answer = LaneReader::new(receive).next().await;
        answer.expect("a response")
    }

    pub async fn replay(&self, stream: &StreamId, range: ReplayRange) -> Replayed {
        let stream = stream.clone();
        match self.request(&Request::Replay { stream, range }).await {
            Response::Replay(replayed) => replayed,
            other @ (Response::Rest(_) | Response::Pops(_) | Response::Unavailable) => {
                panic!("{other:?}")
            }
        }
    }

    pub fn seen(&self, stream: &StreamId) -> Vec<CommentId> {
        let delivered = self.delivered.lock().unwrap();
        delivered
            .get(stream)
            .map(|d| d.ids.clone())
            .unwrap_or_default()
    }

    pub fn at(&self, stream: &StreamId) -> Position {
        self.delivered.lock().unwrap()[stream].at.clone()
    }

    /// What is missing: from where to where.
    pub fn holes(&self, stream: &StreamId) -> Vec<(u64, u64)> {
        let delivered = self.delivered.lock().unwrap();
        let known = |ahead: &Delivery| {
            delivered[stream]
                .at
                .get(&ahead.region)
                .map_or(0, |at| at.seq)
        };
        let ahead = delivered[stream].ahead.iter();
        ahead.map(|ahead| (known(ahead), ahead.from)).collect()
    }

    /// Sets where deliveries of a fresh state begin.
    pub fn begin(&self, stream: &StreamId, at: &Position) {
        let mut delivered = self.delivered.lock().unwrap();
        let entry = delivered.get_mut(stream).unwrap();
        // The lane may have been faster than the state.
        for (region, at) in &at.0 {
            entry.at.advance(region, *at);
        }
    }
}

async fn accept_lanes(
    connection: Connection,
    delivered: Arc<Mutex<HashMap<StreamId, Delivered>>>,
    paused: watch::Receiver<bool>,
) {
    while let Ok(lane) = connection.accept_uni().await {
        let delivered = Arc::clone(&delivered);
        let mut paused = paused.clone();
        tokio::spawn(async move {
            let mut reader = LaneReader::new(lane);
            let own = match reader.next().await {
                Some(Lane::Deliveries { stream }) => Some(stream),
                Some(Lane::Quiet) => None,
                other => panic!("no delivery lane: {other:?}"),
            };
            while let Some(message) = reader.message().await {
                let (stream, delivery) = match &own {
                    Some(stream) => (stream.clone(), &message[..]),
                    None => {
                        let (stream, at) = split_quiet(&message).unwrap();
                        (stream, &message[at..])
                    }
                };
                let delivery = read_frame(delivery).unwrap();
                let _ = paused.wait_for(|paused| !paused).await;
                let mut delivered = delivered.lock().unwrap();
                delivered.entry(stream).or_default().take(delivery);
            }
        });
    }
}
