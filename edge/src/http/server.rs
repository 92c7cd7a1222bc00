//! The HTTP/1.1 server behind the shards: it takes over connections with what was read of them.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::backhaul::{RestRequest, RestResponse};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use super::answer::{Answer, body, not_allowed, problem};
use super::api;
use super::files::Files;
use crate::backhaul::{Handle, RestError};
use crate::pop::PopState;
use crate::tls::{Session, TlsStream};
use crate::ws::handshake::Origins;

/// Connections on their way from a shard; one more is dropped.
pub const HANDOVERS_MAX: usize = 1_024;
/// HTTP connections at once; one more waits for another to end.
const CONNECTIONS_MAX: usize = 2_048;
/// A whole head must have come by then, also of a later request.
const HEAD: Duration = Duration::from_secs(10);
/// The longest life of an HTTP connection.
const LIFE: Duration = Duration::from_secs(120);
/// Text of Prometheus, as prometheus-client writes it.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A connection that is no WebSocket.
#[derive(Debug)]
pub struct Handover {
    /// The socket, non-blocking.
    pub socket: std::net::TcpStream,
    /// Its TLS session.
    pub tls: Option<Box<Session>>,
    /// What was read of it, unencrypted.
    pub read: Vec<u8>,
}

/// Answers calls of the REST interface.
pub trait Rest: Send + Sync {
    /// One call.
    fn rest<'a>(
        &'a self,
        call: RestRequest,
    ) -> Pin<Box<dyn Future<Output = Result<RestResponse, RestError>> + Send + 'a>>;
}

impl Rest for Handle {
    fn rest<'a>(
        &'a self,
        call: RestRequest,
    ) -> Pin<Box<dyn Future<Output = Result<RestResponse, RestError>> + Send + 'a>> {
        Box::pin(Self::rest(self, call))
    }
}

/// What the server answers from.
pub struct HttpServer {
    /// The page's files.
    pub files: Files,
    /// Where calls go.
    pub rest: Arc<dyn Rest>,
    /// What is counted.
    pub registry: Registry,
    /// Whether viewers may come.
    pub pop: Arc<PopState>,
    /// Pages that may call.
    pub origins: Origins,
}

impl HttpServer {
    /// Serves what comes until the shards have ended.
    pub async fn run(self, mut handovers: mpsc::Receiver<Handover>) {
        let server = Arc::new(self);
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Some(handover) = handovers.recv().await {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                if let Err(error) = server.serve(handover).await {
                    tracing::debug!(%error, "an HTTP connection failed");
                }
                drop(permit);
            });
        }
    }

    async fn serve(
        self: Arc<Self>,
        handover: Handover,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let socket = TcpStream::from_std(handover.socket)?;
        match handover.tls {
            None => self.connection(Rewound::new(handover.read, socket)).await,
            Some(session) => {
                self.connection(Rewound::new(handover.read, TlsStream::new(socket, session)))
                    .await
            }
        }
    }

    async fn connection<S>(
        self: Arc<Self>,
        stream: S,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| {
            let server = Arc::clone(&self);
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_headers(64)
            .max_buf_size(64 << 10)
            .serve_connection(TokioIo::new(stream), service);
        tokio::time::timeout(LIFE, connection).await??;
        Ok(())
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if path == "/api" || path.starts_with("/api/") {
            return api::answer(request, &*self.rest, &self.origins).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return not_allowed("GET, HEAD");
        }
        match path {
            "/healthz" => body(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
            "/readyz" if self.pop.is_ready() => {
                body(StatusCode::OK, "text/plain; charset=utf-8", "ready\n")
            }
            "/readyz" => problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "no gateway, no lease, or going away",
            ),
            "/metrics" => self.metrics(),
            path => self
                .files
                .answer(path, request.headers())
                .unwrap_or_else(|| problem(StatusCode::NOT_FOUND, "there is nothing here")),
        }
    }

    fn metrics(&self) -> Answer {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => body(StatusCode::OK, METRICS_TYPE, text),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be written");
                problem(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "metrics cannot be written",
                )
            }
        }
    }
}

/// A connection that begins with bytes read from it earlier.
struct Rewound<S> {
    read: Bytes,
    stream: S,
}

impl<S> Rewound<S> {
    fn new(read: Vec<u8>, stream: S) -> Self {
        let read = read.into();
        Self { read, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = buf.remaining().min(self.read.len());
        buf.put_slice(&self.read.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
