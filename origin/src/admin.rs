//! `/healthz`, `/readyz` and `/metrics`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;

use crate::config::Role;
use crate::log::{Log, Registry};
use crate::metrics::Metrics;

/// Connections at once; for one more the oldest gives way (metric `admin_evicted`).
const CONNECTIONS_MAX: usize = 64;
/// From connecting to the whole request.
const REQUEST: Duration = Duration::from_secs(5);
/// How long a look at the logs' leaders may take.
const LEADERS: Duration = Duration::from_secs(2);

/// What the answers are made of.
pub struct Admin {
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The log, once there is one.
    pub log: Arc<OnceCell<Arc<dyn Log>>>,
    /// The roles of this process and whether each runs.
    pub roles: Vec<(Role, Arc<AtomicBool>)>,
}

impl Admin {
    /// Answers for ever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut open: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                // Out of descriptors, mostly: it passes.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            open.retain(|connection| !connection.is_finished());
            if open.len() >= CONNECTIONS_MAX
                && let Some(oldest) = open.pop_front()
            {
                // A scrape or a probe takes milliseconds: what is there for longer waits for its peer.
                oldest.abort();
                self.metrics.admin_evicted.inc();
            }
            let this = Arc::clone(&self);
            let connection = tokio::spawn(async move {
                let service = service_fn(|request| {
                    let this = Arc::clone(&this);
                    async move { Ok::<_, Infallible>(this.answer(&request).await) }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(REQUEST)
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
                if let Err(error) = served {
                    tracing::debug!(%error, "an admin connection ended");
                }
            });
            open.push_back(connection.abort_handle());
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
            let allow = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allow);
            return response;
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.ready().await {
                // What is wrong with other regions is told; it keeps this one from nothing.
                Ok(()) => {
                    let regions = self.log.get().map(|log| log.registry());
                    let away = regions.and_then(Registry::why_away);
                    let behind = regions.and_then(Registry::why_behind);
                    let lines = ["ready".to_owned()].into_iter().chain(away).chain(behind);
                    text(
                        StatusCode::OK,
                        lines.map(|line| line + "\n").collect::<String>(),
                    )
                }
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            },
            "/metrics" => {
                let mut response = text(StatusCode::OK, self.metrics.text());
                response.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static(
                        "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    ),
                );
                response
            }
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    async fn ready(&self) -> Result<(), String> {
        for (role, running) in &self.roles {
            if !running.load(Ordering::Relaxed) {
                return Err(format!("the role {} does not run yet", role.name()));
            }
        }
        if let Some(why) = self.metrics.health.why() {
            return Err(why);
        }
        let log = self.log.get().ok_or("the log is not connected yet")?;
        match tokio::time::timeout(LEADERS, log.leaders()).await {
            Ok(led) => led.map_err(|error| error.to_string()),
            Err(_) => Err("the log does not answer".to_owned()),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut socket = TcpStream::connect(address).await.expect("connects");
        socket.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("reads");
        answer
    }

    #[tokio::test]
    async fn half_requests_keep_no_probe_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = listener.local_addr().expect("an address");
        let metrics = Arc::new(Metrics::new());
        let admin = Arc::new(Admin {
            metrics: Arc::clone(&metrics),
            log: Arc::default(),
            roles: Vec::new(),
        });
        let serving = tokio::spawn(admin.serve(listener));
        let mut half = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let mut socket = TcpStream::connect(address).await.expect("connects");
            socket.write_all(b"GET /hea").await.expect("writes");
            half.push(socket);
        }
        let probe = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answer = tokio::time::timeout(REQUEST / 2, ask(address, probe)).await;
        let answer = answer.expect("no half request is waited for");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(metrics.admin_evicted.get(), 1);
        let refused = ask(address, &probe.replace("GET", "POST")).await;
        assert!(refused.starts_with("HTTP/1.1 405 "), "{refused}");
        assert!(
            refused.to_lowercase().contains("allow: get, head"),
            "{refused}"
        );
        serving.abort();
    }
}
