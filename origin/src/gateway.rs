//! The role that serves PoPs: a QUIC server with mutual TLS in front of the log.
//!
//! **Invariant**: no other module names `quinn`.

mod admission;
mod catch_up;
mod directory;
#[doc(hidden)]
pub mod follower;
mod followers;
mod here;
mod hold;
mod lane;
mod pop;
mod posts;
mod quiet;
#[doc(hidden)]
pub mod routes;
mod tls;

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chorus_protocol::backhaul::CloseCode;
use chorus_quic::Pace;
use quinn::{Endpoint, VarInt};
use tokio::sync::{Semaphore, watch};

use self::admission::Admission;
use self::directory::Directory;
use self::follower::core::Bounds;
use self::followers::{Followers, Shared};
use self::here::Here;
use self::routes::Router;
use crate::clock;
use crate::config;
use crate::gateways::Gateways;
use crate::history::History;
use crate::log::Log;
use crate::metrics::Metrics;

/// Connections at once; one more is refused.
const CONNECTIONS_MAX: usize = 4_096;
/// After how long without a connection to NATS PoPs are sent to another region's gateway.
const UNCONNECTED: Duration = Duration::from_millis(500);
/// How long connections get to close at the end.
const CLOSING: Duration = Duration::from_secs(2);

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A certificate or key file cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The certificates do not fit together.
    #[error("TLS: {0}")]
    Tls(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl GatewayError {
    fn file(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::File {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn tls(reason: impl std::fmt::Display) -> Self {
        Self::Tls(reason.to_string())
    }
}

/// What all connections use.
struct GatewayShared {
    log: Arc<dyn Log>,
    admission: Admission,
    router: Router,
    directory: Directory,
    followers: Arc<Followers>,
    here: Arc<Here>,
    gateways: Gateways,
    metrics: Arc<Metrics>,
    pace: Arc<Pace>,
    workers: [u16; 2],
    lease: Duration,
    resume_max: usize,
}

/// A gateway that listens.
pub struct Gateway {
    endpoint: Endpoint,
    shared: Arc<GatewayShared>,
    running: Arc<AtomicBool>,
}

impl Gateway {
    /// Listens; connections are accepted by [`Gateway::run`].
    ///
    /// # Errors
    /// When a certificate cannot be used or the address is taken.
    pub fn bind(
        config: &config::Gateway,
        limits: &config::Limits,
        log: Arc<dyn Log>,
        history: History,
        metrics: Arc<Metrics>,
        running: Arc<AtomicBool>,
        pace: Arc<Pace>,
    ) -> Result<Self, GatewayError> {
        let server = tls::server_config(config)?;
        let address = config.listen;
        let endpoint = UdpSocket::bind(address)
            .and_then(|socket| chorus_quic::endpoint(Some(server), socket))
            .map_err(|source| GatewayError::Listen { address, source })?;
        let id = format!("{:016x}", clock::draw());
        let here = Here::new(log.clone(), Arc::clone(&metrics), id.clone());
        let followers = Followers::new(Arc::new(Shared {
            log: log.clone(),
            history: history.clone(),
            metrics: Arc::clone(&metrics),
            pace: Arc::clone(&pace),
            name: format!("{}.{id}", log.region()),
            id,
            bounds: Bounds {
                newest_max: config.newest_max,
                resume_max: config.resume_max,
            },
            regions: watch::Sender::default(),
        }));
        let directory = Directory::new(log.clone(), Arc::clone(&metrics));
        let admission = Admission::new(limits, directory.clone(), history, Arc::clone(&metrics));
        let workers = log.registry().workers();
        let shared = Arc::new(GatewayShared {
            admission,
            router: Router::new(log.clone(), Arc::clone(&metrics)),
            directory,
            followers: Arc::new(followers),
            here: Arc::new(here),
            gateways: Gateways::new(log.clone(), Arc::clone(&metrics)),
            log,
            metrics,
            pace,
            workers,
            lease: Duration::from_millis(config.lease_ms),
            resume_max: config.resume_max,
        });
        Ok(Self {
            endpoint,
            shared,
            running,
        })
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Serves PoPs until `stop` says otherwise; they are told to go elsewhere.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let directory = self.shared.directory.clone();
        let follow = tokio::spawn(async move { directory.follow().await });
        let sweep = tokio::spawn(Arc::clone(&self.shared.followers).sweep());
        let gateways = self.shared.gateways.clone();
        let others = tokio::spawn(async move { gateways.follow().await });
        let here = Arc::clone(&self.shared.here);
        let lease = tokio::spawn(async move { here.keep().await });
        let (tell, unconnected) = watch::channel(false);
        let watch = tokio::spawn(watch_link(Arc::clone(&self.shared.log), tell));
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        self.running.store(true, Ordering::Relaxed);
        loop {
            let incoming = tokio::select! {
                incoming = self.endpoint.accept() => incoming,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let Some(incoming) = incoming else { break };
            if *unconnected.borrow() {
                // Said at once: the PoP goes to another gateway, and does not take this one for well.
                incoming.refuse();
                continue;
            }
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                tracing::warn!("too many connections");
                incoming.refuse();
                continue;
            };
            let shared = Arc::clone(&self.shared);
            let unconnected = unconnected.clone();
            tokio::spawn(async move {
                match incoming.await {
                    Ok(connection) => serve(shared, connection, unconnected).await,
                    Err(error) => tracing::info!(%error, "a handshake failed"),
                }
                drop(permit);
            });
        }
        self.running.store(false, Ordering::Relaxed);
        lease.abort();
        others.abort();
        let code = VarInt::from_u32(CloseCode::GoingAway as u32);
        self.endpoint.close(code, b"going away");
        let closed = tokio::time::timeout(CLOSING, self.endpoint.wait_idle());
        let _ = tokio::join!(closed, self.shared.here.give_back());
        follow.abort();
        sweep.abort();
        watch.abort();
    }
}

/// Serves a PoP; sends it elsewhere when nothing can be done for it here.
async fn serve(
    shared: Arc<GatewayShared>,
    connection: quinn::Connection,
    mut unconnected: watch::Receiver<bool>,
) {
    let mut served = pin!(pop::serve(shared, connection.clone()));
    tokio::select! {
        () = &mut served => return,
        _ = unconnected.wait_for(|unconnected| *unconnected) => {}
    }
    let code = VarInt::from_u32(CloseCode::GoingAway as u32);
    connection.close(code, b"no connection to NATS");
    served.await;
}

/// Tells whether NATS has been away for so long that another region's gateway serves better. Without other regions there
/// is nowhere to go.
async fn watch_link(log: Arc<dyn Log>, tell: watch::Sender<bool>) {
    if log.registry().peers().is_empty() {
        return std::future::pending().await;
    }
    let mut link = log.link();
    loop {
        if link.wait_for(|link| !link.connected).await.is_err() {
            return;
        }
        let back = link.wait_for(|link| link.connected);
        if tokio::time::timeout(UNCONNECTED, back).await.is_ok() {
            continue;
        }
        tracing::warn!("NATS is away: PoPs go to another region's gateway");
        tell.send_replace(true);
        if link.wait_for(|link| link.connected).await.is_err() {
            return;
        }
        tell.send_replace(false);
    }
}
