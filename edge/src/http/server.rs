//! The HTTP/1.1 server: serves connections that shards hand over, with the bytes that the shards read from them.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use chorus_protocol::backhaul::{RestRequest, RestResponse};
use chorus_protocol::codes::ErrorCode;
use http::{Method, StatusCode};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::admin;
use super::answer::{Answer, body, not_allowed, problem};
use super::api;
use super::bounds::HttpBounds;
use super::connection::Connection;
use super::files::Files;
use super::metrics::{HttpCollector, HttpMetrics, count};
use super::places::{Place, Places};
use super::pops::{self, Here};
use super::request::Request;
use super::transport::Handover;
use crate::backhaul::{Handle, Heard, RestError};
use crate::link::{ShardHandle, ToShard};
use crate::pop::PopState;
use crate::tls::TlsStream;
use crate::ws::handshake::Origins;

/// Connections in the channel from the shards; a further one is dropped (metric `http_refused`).
pub const HANDOVERS_MAX: usize = 1_024;
/// The content type of the text that `prometheus-client` writes.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Forwards requests of the REST interface.
pub trait Rest: Send + Sync {
    /// Forwards one request and waits for its answer.
    fn rest<'a>(
        &'a self,
        call: RestRequest,
    ) -> Pin<Box<dyn Future<Output = Result<RestResponse, RestError>> + Send + 'a>>;

    /// The PoPs of all regions, as heard of.
    fn pops(&self) -> Pin<Box<dyn Future<Output = Heard> + Send + '_>>;
}

impl Rest for Handle {
    fn rest<'a>(
        &'a self,
        call: RestRequest,
    ) -> Pin<Box<dyn Future<Output = Result<RestResponse, RestError>> + Send + 'a>> {
        Box::pin(Self::rest(self, call))
    }

    fn pops(&self) -> Pin<Box<dyn Future<Output = Heard> + Send + '_>> {
        Box::pin(Self::pops(self))
    }
}

/// What the server needs to run.
pub struct HttpServer {
    /// The page's files.
    pub files: Files,
    /// Forwards requests for `/api` to the gateway.
    pub rest: Arc<dyn Rest>,
    /// How this PoP is listed among the others.
    pub here: Here,
    /// The metrics for `/metrics`.
    pub registry: Registry,
    /// The state of the process, for `/readyz`.
    pub pop: Arc<PopState>,
    /// `Origin`s of pages that may use `/api`.
    pub origins: Origins,
    /// Numbers and timeouts of connections.
    pub bounds: HttpBounds,
    /// Whether `/metrics` is served to viewers too.
    pub public_metrics: bool,
    /// The operator's listener for health, readiness and metrics.
    pub admin: Option<TcpListener>,
    /// The shards, one of which gets an upgrade on a used connection.
    pub shards: Vec<ShardHandle>,
}

/// Who uses a connection; it decides which paths are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interface {
    /// Viewers and their pages.
    Public,
    /// The PoP's operator.
    Admin,
}

/// State shared by the connections.
pub(super) struct Shared {
    files: Files,
    pub(super) rest: Arc<dyn Rest>,
    here: Here,
    registry: Registry,
    pop: Arc<PopState>,
    public_metrics: bool,
    shards: Vec<ShardHandle>,
    /// Index of the shard that gets the next upgrade.
    next: AtomicUsize,
    pub(super) origins: Origins,
    pub(super) bounds: HttpBounds,
    pub(super) metrics: Arc<HttpMetrics>,
}

impl HttpServer {
    /// Serves connections until all shards have ended and all begun requests are answered.
    pub async fn run(mut self, mut handovers: mpsc::Receiver<Handover>) {
        let metrics = Arc::<HttpMetrics>::default();
        let collector = HttpCollector(Arc::clone(&metrics));
        self.registry.register_collector(Box::new(collector));
        let places = Places::new(
            self.bounds.connections_max,
            self.bounds.connections_per_address_max,
            Arc::clone(&metrics),
        );
        let shared = Arc::new(Shared {
            files: self.files,
            rest: self.rest,
            here: self.here,
            registry: self.registry,
            pop: self.pop,
            public_metrics: self.public_metrics,
            shards: self.shards,
            next: AtomicUsize::new(0),
            origins: self.origins,
            bounds: self.bounds,
            metrics,
        });
        let (end, ending) = watch::channel(false);
        let admin = self.admin.map(|listener| {
            tokio::spawn(admin::serve(listener, Arc::clone(&shared), ending.clone()))
        });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                handover = handovers.recv() => {
                    let Some(handover) = handover else {
                        break;
                    };
                    let peer = handover.socket.peer_addr();
                    if let Some(place) = peer.ok().and_then(|peer| places.admit(peer.ip())) {
                        let shared = Arc::clone(&shared);
                        connections.spawn(shared.serve(handover, place, ending.clone()));
                    }
                }
                // Removes tasks that have ended.
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        end.send_replace(true);
        while connections.join_next().await.is_some() {}
        if let Some(admin) = admin {
            admin.abort();
        }
    }
}

impl Shared {
    async fn serve(
        self: Arc<Self>,
        handover: Handover,
        place: Place,
        ending: watch::Receiver<bool>,
    ) {
        let read = BytesMut::from(&handover.read[..]);
        let socket = match TcpStream::from_std(handover.socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be taken over");
                return;
            }
        };
        let interface = Interface::Public;
        let shared = self;
        match handover.tls {
            None => {
                let stream = socket;
                let connection = Connection {
                    stream,
                    read,
                    place,
                    is_first: true,
                    interface,
                    shared,
                    ending,
                };
                connection.run().await;
            }
            Some(session) => {
                let stream = TlsStream::new(socket, session);
                let connection = Connection {
                    stream,
                    read,
                    place,
                    is_first: true,
                    interface,
                    shared,
                    ending,
                };
                connection.run().await;
            }
        }
    }

    /// Gives a connection to the next shard with room in its channel; drops it when there is none.
    pub(super) fn give_back(&self, handover: Handover) {
        let mut message = ToShard::Returned(Box::new(handover));
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let (before, after) = self.shards.split_at(first % self.shards.len().max(1));
        for shard in after.iter().chain(before) {
            match shard.offer(message) {
                Ok(()) => return count(&self.metrics.returned),
                Err(refused) => message = refused,
            }
        }
        count(&self.metrics.full);
    }

    /// Whether connections are closed after their next answer.
    pub(super) fn is_ending(&self) -> bool {
        self.pop.is_draining()
    }

    pub(super) async fn answer(
        &self,
        interface: Interface,
        request: &Request,
        sent: Bytes,
    ) -> Answer {
        let path = request.path.as_str();
        if interface == Interface::Public && (path == "/api" || path.starts_with("/api/")) {
            return api::answer(request, sent, self).await;
        }
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return not_allowed("GET, HEAD");
        }
        match path {
            // Pages of other PoPs measure the way here by it.
            "/healthz" => {
                let mut answer = body(StatusCode::OK, "text/plain; charset=utf-8", "ok\n");
                api::share(
                    &mut answer,
                    &self.origins,
                    api::origin(request, &self.origins),
                );
                answer
            }
            "/readyz" if self.pop.is_ready() => {
                body(StatusCode::OK, "text/plain; charset=utf-8", "ready\n")
            }
            "/readyz" => problem(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::Unavailable,
                "no gateway, no lease, or going away",
            ),
            "/metrics" if interface == Interface::Admin || self.public_metrics => {
                self.metrics_text()
            }
            path if interface == Interface::Public => self
                .files
                .answer(path, &request.headers)
                .unwrap_or_else(|| self.not_found()),
            _ => self.not_found(),
        }
    }

    /// The PoPs as this one knows them.
    pub(super) async fn pops(&self) -> Answer {
        let here = self.here.now(self.pop.viewers(), self.pop.is_draining());
        pops::answer(&here, &self.rest.pops().await)
    }

    pub(super) fn not_found(&self) -> Answer {
        problem(
            StatusCode::NOT_FOUND,
            ErrorCode::NotFound,
            "there is nothing here",
        )
    }

    fn metrics_text(&self) -> Answer {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => body(StatusCode::OK, METRICS_TYPE, text),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be written");
                problem(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    ErrorCode::Internal,
                    "metrics cannot be written",
                )
            }
        }
    }

    /// Serves a connection of the operator's listener.
    pub(super) async fn administer(
        self: Arc<Self>,
        socket: TcpStream,
        place: Place,
        ending: watch::Receiver<bool>,
    ) {
        let connection = Connection {
            stream: socket,
            read: BytesMut::new(),
            place,
            is_first: true,
            interface: Interface::Admin,
            shared: self,
            ending,
        };
        connection.run().await;
    }
}

/// The peer's address, or the loopback address when the connection is closed already.
pub(super) fn peer(socket: &TcpStream) -> IpAddr {
    socket
        .peer_addr()
        .map_or(IpAddr::from([127, 0, 0, 1]), |peer| peer.ip())
}
