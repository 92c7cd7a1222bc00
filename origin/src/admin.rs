//! `/healthz`, `/readyz` and `/metrics`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, Semaphore};

use crate::config::Role;
use crate::log::Log;
use crate::metrics::Metrics;

/// Connections at once; one more is closed.
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
    pub log: Arc<OnceCell<Log>>,
    /// The roles of this process and whether each runs.
    pub roles: Vec<(Role, Arc<AtomicBool>)>,
}

impl Admin {
    /// Answers for ever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                // Out of descriptors, mostly: it passes.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                continue;
            };
            let this = Arc::clone(&self);
            tokio::spawn(async move {
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
                drop(permit);
            });
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.ready().await {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            },
            "/metrics" => {
                let mut response = text(StatusCode::OK, self.metrics.text());
                response.headers_mut().insert(
                    hyper::header::CONTENT_TYPE,
                    hyper::header::HeaderValue::from_static(
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
