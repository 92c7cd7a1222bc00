//! Runs a PoP: starts its parts, waits for a signal, drains.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chorus_quic::Pace;
use tokio::sync::mpsc;

use super::listen::{listeners, raise_files_limit};
use super::signals::{End, Signals};
use super::state::PopState;
use crate::backhaul::{self, BackhaulError, ShardSender};
use crate::component::{LoadError, Logic, Supervisor};
use crate::config::{Checked, Config, ConfigError};
use crate::http::{Files, HANDOVERS_MAX, Here, HttpServer};
use crate::link::{self, ShardHandle, ShardId, ToShard};
use crate::manifest::{Manifest, ManifestError};
use crate::metrics::{ShardMetrics, registry};
use crate::shard::{Shard, ShardSpec, StartError};
use crate::tls::{TlsError, server_config};

/// Open files needed besides the sockets of viewers and HTTP connections.
const FILES_BESIDES: u64 = 4_096;
/// Time after the end of a drain in which close frames and HTTP answers are still sent.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Why a PoP did not start, or stopped without a signal.
#[derive(Debug, thiserror::Error)]
pub enum PopError {
    /// The configuration is invalid.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The application's manifest is invalid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The session component cannot be loaded.
    #[error("session component: {0}")]
    Load(#[from] LoadError),
    /// The session component does not start.
    #[error("session component: {0}")]
    Start(#[from] crate::component::StartError),
    /// The certificate or key for viewers is invalid.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// The backhaul does not start.
    #[error(transparent)]
    Backhaul(#[from] BackhaulError),
    /// A shard does not start, or its reactor failed.
    #[error("shard {0}: {1}")]
    Shard(ShardId, StartError),
    /// A shard's thread ended before a drain.
    #[error("shard {0} ended")]
    ShardEnded(ShardId),
    /// The HTTP server ended before a drain.
    #[error("the HTTP server ended")]
    HttpEnded,
    /// The address cannot be listened on.
    #[error("{0} cannot be listened on: {1}")]
    Listen(std::net::SocketAddr, std::io::Error),
    /// A file or directory cannot be used.
    #[error("{}: {error}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A signal handler or a thread cannot be set up.
    #[error("{0}")]
    System(std::io::Error),
}

/// Runs a PoP until a signal ends it. The backhaul counts its messages with `pace`, which must be the pace of this runtime.
///
/// # Errors
/// When it cannot start, or a shard failed.
pub async fn run(config: Config, exit_with_parent: bool, pace: Arc<Pace>) -> Result<(), PopError> {
    let mut signals = Signals::new(exit_with_parent).map_err(PopError::System)?;
    let manifest = Manifest::read(&config.app, |name| std::env::var(name).ok())?;
    let checked = Checked::try_new(config, &manifest.variables)?;
    let config = &checked.config;
    let wanted = (config.connections_max + config.http.connections_max) as u64 + FILES_BESIDES;
    if let Some(files) = raise_files_limit().filter(|files| *files < wanted) {
        tracing::warn!(
            files,
            wanted,
            "fewer files may be opened than connections_max needs; viewers may be refused"
        );
    }
    let cache = config.state_dir.join("components");
    private_dir(&cache)?;
    let logic = Logic::load(&manifest.source, Some(&cache), &config.component)?;
    let tls = config
        .tls
        .as_ref()
        .map(|tls| server_config(&tls.cert, &tls.key))
        .transpose()?;
    let files = match &config.assets_dir {
        None => Files::default(),
        Some(dir) => Files::read(dir).map_err(|error| PopError::Path {
            path: dir.clone(),
            error,
        })?,
    };
    let pop = Arc::new(PopState::new(config.connections_max));
    let (address, listeners) = listeners(config.listen, checked.shards)
        .map_err(|error| PopError::Listen(config.listen, error))?;
    let admin = match config.admin_listen {
        None => None,
        Some(address) => Some(
            tokio::net::TcpListener::bind(address)
                .await
                .map_err(|error| PopError::Listen(address, error))?,
        ),
    };
    let (to_backhaul, from_shards) = link::to_backhaul();
    let (http, handovers) = mpsc::channel(HANDOVERS_MAX);
    let (ended, mut shard_ended) = mpsc::channel(checked.shards);
    let mut handles: Vec<ShardHandle> = Vec::new();
    let mut metrics: Vec<Arc<ShardMetrics>> = Vec::new();
    for (shard, listener) in (0..).zip(listeners) {
        let counts = Arc::<ShardMetrics>::default();
        let spec = ShardSpec {
            shard,
            tls: tls.clone(),
            message_bytes_max: checked.message_bytes_max(),
            queue: checked.queue(),
            origins: checked.origins(),
            io_uring: config.io_uring,
            turn_max: Duration::from_millis(config.turn_ms_max),
            pop: Arc::clone(&pop),
            metrics: Arc::clone(&counts),
            to_backhaul: to_backhaul.clone(),
            http: http.clone(),
        };
        let (engine, handle) =
            Shard::new(spec, listener).map_err(|error| PopError::Shard(shard, error))?;
        let session = Supervisor::new(
            Arc::clone(&logic),
            &checked.session(shard),
            random(),
            config.component.clone(),
        )?;
        let ended = ended.clone();
        std::thread::Builder::new()
            .name(format!("shard-{shard}"))
            .spawn(move || {
                // A shard contains its panics; this catches a panic of the containment itself.
                let run =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| engine.run(session)));
                // An error means that the process is ending already.
                let _ = ended.blocking_send((shard, run));
            })
            .map_err(PopError::System)?;
        handles.push(handle);
        metrics.push(counts);
    }
    drop((to_backhaul, http, ended));
    let backhaul_metrics = Arc::<backhaul::Metrics>::default();
    let senders = handles
        .iter()
        .map(|handle| Arc::new(handle.clone()) as Arc<dyn ShardSender>)
        .collect();
    let backhaul_handle = Arc::new(backhaul::start(
        checked.backhaul.clone(),
        senders,
        from_shards,
        Arc::clone(&backhaul_metrics),
        pace,
        Arc::clone(&pop),
    )?);
    let server = HttpServer {
        files,
        rest: Arc::clone(&backhaul_handle) as _,
        here: Here {
            pop: config.pop.clone(),
            region: config.region.clone(),
            url: config.public_url.clone(),
        },
        registry: registry(metrics, Arc::clone(&pop), backhaul_metrics),
        pop: Arc::clone(&pop),
        origins: checked.origins(),
        bounds: config.http.clone(),
        public_metrics: config.public_metrics,
        admin,
        shards: handles.clone(),
    };
    let mut server = tokio::spawn(server.run(handovers));
    tracing::info!(
        %address,
        pop = %config.pop,
        region = %config.region,
        shards = checked.shards,
        application = manifest.application,
        logic = logic.digest(),
        tls = tls.is_some(),
        admin = ?config.admin_listen,
        "listening"
    );

    let end = tokio::select! {
        end = signals.next() => end,
        failed = shard_ended.recv() => return Err(ended_early(failed)),
        // A panic while a connection is served ends only that connection's task. If the server itself ends, no request
        // would be answered any more.
        _ = &mut server => return Err(PopError::HttpEnded),
    };
    let drain_s = if end == End::Orphaned {
        0
    } else {
        config.drain_s
    };
    tracing::info!(?end, drain_s, "draining");
    pop.drain();
    drain(&handles, drain_s);
    let mut deadline = tokio::time::Instant::now() + Duration::from_secs(drain_s) + SHUTDOWN_GRACE;
    let mut left = handles.len();
    let mut accept_second = true;
    while left > 0 {
        tokio::select! {
            ended = shard_ended.recv() => match ended {
                Some((_, Ok(Ok(())))) => left -= 1,
                other => return Err(ended_early(other)),
            },
            _ = signals.next(), if accept_second => {
                tracing::info!("a second signal: at once");
                accept_second = false;
                drain(&handles, 0);
                deadline = tokio::time::Instant::now() + SHUTDOWN_GRACE;
            }
            () = tokio::time::sleep_until(deadline) => break,
        }
    }
    // The shards have dropped their senders, so the server ends too, and with it the last other reference to the backhaul.
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, server).await;
    if let Ok(backhaul_handle) = Arc::try_unwrap(backhaul_handle) {
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, backhaul_handle.stop()).await;
    }
    tracing::info!("drained");
    Ok(())
}

type Ended = (ShardId, std::thread::Result<Result<(), StartError>>);

fn ended_early(ended: Option<Ended>) -> PopError {
    match ended {
        Some((shard, Ok(Err(error)))) => PopError::Shard(shard, error),
        Some((shard, Ok(Ok(())) | Err(_))) => PopError::ShardEnded(shard),
        None => PopError::ShardEnded(0),
    }
}

fn drain(handles: &[ShardHandle], seconds: u64) {
    let grace = Duration::from_secs(seconds);
    for handle in handles {
        handle.send(ToShard::Drain { grace });
    }
}

/// Creates a directory with mode 0700.
fn private_dir(path: &std::path::Path) -> Result<(), PopError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| PopError::Path {
            path: path.to_owned(),
            error,
        })
}

/// A random number, from the keys that the standard library draws from the system for its hash tables.
fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}
