//! The PoP's line to its region: one QUIC connection to the nearest gateway.
//!
//! `hub` decides (which streams are held, what is sent again, what a shard is told) without a socket or a clock;
//! `dial`, `lanes` and `run` are the shell. Nothing else of the PoP names `quinn`.

mod config;
mod dial;
mod frames;
#[doc(hidden)]
pub mod hub;
mod lanes;
mod metrics;
mod nearest;
mod pops;
mod run;
mod tls;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use chorus_protocol::backhaul::{
    REST_BODY_BYTES_MAX, Request, Response, RestRequest, RestResponse,
};
use chorus_protocol::{Millis, Region};
use chorus_quic::Pace;
use quinn::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::link::{ToBackhaul, ToShard};
use crate::pop::PopState;

pub use config::{BackhaulBounds, BackhaulConfig};
pub use metrics::{Kind, Metrics};
pub use pops::Heard;
pub use tls::TlsError;

/// The way to a shard. Never waits: a shard's channel has its own bound and policy.
pub trait ShardSender: Send + Sync {
    /// Hands a message over.
    fn send(&self, message: ToShard);

    /// Hands several over in order; worth overriding where waking the shard costs something.
    fn send_all(&self, messages: &mut Vec<ToShard>) {
        for message in messages.drain(..) {
            self.send(message);
        }
    }
}

/// Why the backhaul does not start.
#[derive(Debug, thiserror::Error)]
pub enum BackhaulError {
    /// The configuration does not hold.
    #[error("backhaul: {0}")]
    Config(String),
    /// Keys or certificates are no good.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No UDP socket.
    #[error("backhaul: no UDP socket: {0}")]
    Socket(#[from] std::io::Error),
}

/// Why a REST call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestError {
    /// No gateway is connected, or it could not answer.
    #[error("no gateway answers")]
    Unavailable,
    /// Too many calls at once.
    #[error("too many calls")]
    Busy,
    /// The body is longer than [`REST_BODY_BYTES_MAX`].
    #[error("the body is too long")]
    TooLong,
    /// No answer in time. Whether it was carried out is not known.
    #[error("no answer in time")]
    Timeout,
}

/// How the backhaul stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The gateway connected: its address and region.
    pub gateway: Option<(String, Region)>,
    /// Round trip to it.
    pub rtt: Option<Duration>,
    /// Until when comment ids may be minted, by this process's clock.
    pub lease_until: Millis,
}

/// The gateway connected.
#[derive(Clone, Debug)]
struct Gateway {
    address: String,
    region: Region,
    connection: Connection,
}

/// What the loop and the handle share.
#[derive(Debug)]
struct Shared {
    gateway: watch::Sender<Option<Gateway>>,
    lease_until: AtomicU64,
    rest: Semaphore,
    pops: pops::Pops,
}

impl Shared {
    fn up(&self, gateway: Gateway) {
        self.gateway.send_replace(Some(gateway));
    }

    fn down(&self) {
        self.gateway.send_replace(None);
    }
}

/// A running backhaul. Dropping it ends the connection.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    rest_time: Duration,
    metrics: Arc<Metrics>,
    pop: Arc<PopState>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<()>>,
    refresh: tokio::task::JoinHandle<()>,
}

/// Starts the backhaul on the current Tokio runtime. Shard `n` of `shards` is [`crate::link::ShardId`] `n`; `pace` is
/// told how much there is to do, and the gateway how full `pop` is; the clock of `pop` is set
/// by the gateway's where they differ.
///
/// # Errors
/// When the configuration, the keys or the socket are no good; a gateway that does not answer is no error.
pub fn start(
    config: BackhaulConfig,
    shards: Vec<Arc<dyn ShardSender>>,
    asked: mpsc::Receiver<ToBackhaul>,
    metrics: Arc<Metrics>,
    pace: Arc<Pace>,
    pop: Arc<PopState>,
) -> Result<Handle, BackhaulError> {
    config.check().map_err(BackhaulError::Config)?;
    // Said now rather than at each attempt to connect.
    tls::client(&config)?;
    let (stop, stopped) = oneshot::channel();
    let shared = Arc::new(Shared {
        gateway: watch::Sender::new(None),
        lease_until: AtomicU64::new(0),
        rest: Semaphore::new(config.bounds.rest_max),
        pops: pops::Pops::default(),
    });
    let rest_time = Duration::from_millis(config.bounds.rest_ms_max);
    let runner = run::Runner {
        config: Arc::new(config),
        sockets: dial::Sockets::open()?,
        process: random(),
        shards,
        asked,
        metrics: Arc::clone(&metrics),
        pace,
        pop: Arc::clone(&pop),
        shared: Arc::clone(&shared),
        stop: stopped,
    };
    let refresh = pops::refresh(Arc::clone(&shared), Arc::clone(&metrics));
    Ok(Handle {
        refresh: tokio::spawn(refresh),
        shared,
        rest_time,
        metrics,
        pop,
        stop: Some(stop),
        task: Some(tokio::spawn(runner.run())),
    })
}

impl Handle {
    /// Passes a REST call to the gateway.
    ///
    /// # Errors
    /// [`RestError`] says why there is no answer.
    pub async fn rest(&self, call: RestRequest) -> Result<RestResponse, RestError> {
        metrics::add(&self.metrics.rest_calls, 1);
        let answer = self.rest_inner(call).await;
        metrics::add(&self.metrics.rest_failures, u64::from(answer.is_err()));
        answer
    }

    async fn rest_inner(&self, call: RestRequest) -> Result<RestResponse, RestError> {
        if call.body.len() > REST_BODY_BYTES_MAX {
            return Err(RestError::TooLong);
        }
        let _permit = self
            .shared
            .rest
            .try_acquire()
            .map_err(|_| RestError::Busy)?;
        let gateway = self.shared.gateway.borrow().clone();
        let connection = gateway.ok_or(RestError::Unavailable)?.connection;
        let request = Request::Rest(call);
        let asked = lanes::request(&connection, &request, &self.metrics);
        match tokio::time::timeout(self.rest_time, asked).await {
            Ok(Some(Response::Rest(response))) => Ok(response),
            Ok(Some(Response::Unavailable | Response::Replay(_) | Response::Pops(_)) | None) => {
                Err(RestError::Unavailable)
            }
            Err(_) => Err(RestError::Timeout),
        }
    }

    /// Whether viewers can be taken: a gateway is connected and comment ids may be minted.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.shared.gateway.borrow().is_some()
            && self.shared.lease_until.load(Relaxed) > self.pop.clock().now().0
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let gateway = self.shared.gateway.borrow().clone();
        Status {
            rtt: gateway.as_ref().map(|gateway| gateway.connection.rtt()),
            gateway: gateway.map(|gateway| (gateway.address, gateway.region)),
            lease_until: Millis(self.shared.lease_until.load(Relaxed)),
        }
    }

    /// Tells the gateway goodbye and waits until it has heard.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // Nobody to tell when the loop has ended.
            let _ = stop.send(());
        }
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.refresh.abort();
    }
}

/// A number nobody else draws: the keys the standard library takes from the system for its hash tables.
fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}
