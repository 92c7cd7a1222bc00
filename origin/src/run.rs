//! Starts the roles and stops them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;
use chorus_protocol::Region;
use chorus_quic::Pace;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;

use crate::admin::Admin;
use crate::api::Api;
use crate::config::{Config, Role, Sync};
use crate::gateway::Gateway;
use crate::health::{self, Condition, Disk};
use crate::history::History;
use crate::log::nats::Nats;
use crate::log::{self, Log, LogError};
use crate::metrics::Metrics;
use crate::persist::{self, ChangeError, Persist};
use crate::store::{self, Comments, Positions, Stores};

/// From one try to provision to the next.
const PROVISION_RETRY: Duration = Duration::from_millis(250);
/// How long a worker number is leased where no gateway says so.
const WORKERS: Duration = Duration::from_secs(30);
/// How often it is looked whether the region is still laid out as configured.
const LAYOUT: Duration = Duration::from_secs(2);
/// How long a connection is waited for by who provisions and ends.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the mirror of a region may take to be made.
const MIRROR: Duration = Duration::from_secs(10);
/// How long roles get to stop.
const STOPPING: Duration = Duration::from_secs(10);

/// Runs the configured roles until `stop` says otherwise. `pace` is told what this runtime's threads have to do.
///
/// # Errors
/// What makes a start senseless: an address that is taken, a certificate or store that cannot be used. That NATS is
/// away is none of it.
pub async fn run(
    config: Config,
    pace: Arc<Pace>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let roles: Vec<(Role, Arc<AtomicBool>)> = config
        .roles
        .iter()
        .map(|role| (*role, Arc::default()))
        .collect();
    let log_cell = Arc::new(OnceCell::new());
    let listener = TcpListener::bind(config.admin_listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.admin_listen))?;
    let admin = Arc::new(Admin {
        metrics: Arc::clone(&metrics),
        log: Arc::clone(&log_cell),
        roles: roles.clone(),
    });
    let admin = tokio::spawn(admin.serve(listener));
    let result = serve(&config, &metrics, &roles, &pace, &log_cell, stop).await;
    admin.abort();
    result
}

async fn serve(
    config: &Config,
    metrics: &Arc<Metrics>,
    roles: &[(Role, Arc<AtomicBool>)],
    pace: &Arc<Pace>,
    log_cell: &OnceCell<Arc<dyn Log>>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let stores = Stores::open(&config.store).await;
    let stores = stores.context("cannot open the store")?;
    // Ends with the runtime: it has nothing to finish.
    tokio::spawn(health::watch(disks(config), Arc::clone(metrics)));
    let connected = Nats::connect(
        config.nats.clone(),
        config.region.clone(),
        Arc::clone(metrics),
    );
    let log: Arc<dyn Log> = tokio::select! {
        log = connected => Arc::new(log.context("cannot use NATS")?),
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    // Set once, here.
    let _ = log_cell.set(log.clone());
    let workers = workers_term(config);
    tokio::select! {
        made = provision(&*log, &*stores.comments, workers) => made?,
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    }
    if config.nats.sync == Sync::ServerDefault {
        tracing::info!("`durable` survives kills, not a loss of power: NATS syncs by its default");
    }
    let mut tasks = JoinSet::new();
    for (role, running) in roles {
        let (log, stores, metrics) = (log.clone(), stores.clone(), Arc::clone(metrics));
        let (running, stop) = (Arc::clone(running), stop.clone());
        match role {
            Role::Gateway => {
                let gateway = config.gateway.as_ref().context("no [gateway]")?;
                let history = History::new(log.clone(), stores.comments);
                let (limits, pace) = (&config.limits, Arc::clone(pace));
                let gateway = Gateway::bind(gateway, limits, log, history, metrics, running, pace)?;
                tracing::info!(address = %gateway.address()?, "the gateway listens");
                tasks.spawn(gateway.run(stop));
            }
            Role::Persist => {
                let persist = Persist {
                    log,
                    stores,
                    metrics,
                    running,
                    streams_failed: AtomicBool::new(false),
                };
                tasks.spawn(persist.run(stop));
            }
            Role::Api => {
                let api = Api::try_new(config, log, stores, metrics, running)
                    .context("cannot use a key of [tokens] or [dev]")?;
                tasks.spawn(async move {
                    if let Err(error) = api.run(stop).await {
                        tracing::error!(%error, "the api ended");
                    }
                });
            }
        }
    }
    let upkeep = tokio::spawn(keep_provisioned(
        Arc::clone(&log),
        Arc::clone(&stores.comments),
        workers,
    ));
    let watch = tokio::spawn(log::watch(log));
    let mut upkeep = upkeep;
    let outcome = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        // Another origin laid the region out anew, or took its worker numbers.
        ended = &mut upkeep => Err(ended.unwrap_or_else(Into::into)),
        // A role ends by itself only by a bug: the process must not go on half.
        Some(ended) = tasks.join_next() => Err(match ended {
            Ok(()) => anyhow::anyhow!("a role ended by itself"),
            Err(error) => error.into(),
        }),
    };
    upkeep.abort();
    watch.abort();
    let rest = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(STOPPING, rest).await.is_err() {
        tracing::warn!("a role did not stop in time");
    }
    outcome
}

/// The disks of this machine that something of this process is kept on.
fn disks(config: &Config) -> Vec<Disk> {
    let disk = |condition, whose, directories: BTreeSet<&Path>| Disk {
        condition,
        whose,
        directories: directories.into_iter().map(Path::to_owned).collect(),
        free_bytes_min: config.disk_free_bytes_min,
    };
    let log = config.nats.directory.as_deref().into_iter().collect();
    let stores = [config.store.comments(), config.store.streams()];
    let stores = stores.iter().filter_map(|it| store::directory(it.url));
    let mut disks = vec![
        disk(Condition::LogDisk, "the log", log),
        disk(Condition::StoreDisk, "the store", stores.collect()),
    ];
    disks.retain(|disk| !disk.directories.is_empty());
    disks
}

/// Says what provisioning would do, and does it unless `only_plan`; true when there was, or is, something to do.
///
/// # Errors
/// When NATS does not answer, or something cannot be changed: then nothing was.
pub async fn provision_once(
    config: &Config,
    only_plan: bool,
    mut say: impl FnMut(&str),
) -> anyhow::Result<bool> {
    let metrics = Arc::new(Metrics::new());
    let nats = Nats::connect(config.nats.clone(), config.region.clone(), metrics);
    let log: Arc<dyn Log> = Arc::new(nats.await.context("cannot use NATS")?);
    let mut link = log.link();
    let connected = link.wait_for(|link| link.connected);
    let connected = tokio::time::timeout(CONNECT, connected).await;
    connected
        .ok()
        .and_then(Result::ok)
        .with_context(|| format!("no server of NATS answers at {}", config.nats.url))?;
    let workers = workers_term(config);
    let plan = log.plan(workers).await.context("cannot look at the logs")?;
    say(&plan.to_string());
    if let Some(refused) = plan.refused() {
        anyhow::bail!("nothing was changed: {refused}");
    }
    if only_plan || plan.is_settled() {
        return Ok(!plan.is_settled());
    }
    log.provision(workers).await?;
    for peer in log.registry().peers() {
        if log.regions().contains_key(peer)
            && let Err(error) = log.mirror(peer, &Positions::new()).await
        {
            say(&format!(
                "the mirror of {peer} is left to an origin: {error}\n"
            ));
        }
    }
    Ok(true)
}

/// How long a worker number is leased.
fn workers_term(config: &Config) -> Duration {
    let gateway = config.gateway.as_ref();
    gateway.map_or(WORKERS, |gateway| Duration::from_millis(gateway.lease_ms))
}

async fn provision(
    log: &dyn Log,
    store: &dyn Comments,
    workers: Duration,
) -> Result<(), ChangeError> {
    let mut said = String::new();
    loop {
        let made = match log.provision(workers).await {
            Ok(()) => break,
            Err(LogError::Partitions { found, .. }) => {
                persist::change_partitions(log, store, found).await
            }
            Err(error) => Err(error.into()),
        };
        match made {
            Ok(()) => continue,
            Err(error @ (ChangeError::Behind { .. } | ChangeError::Log(LogError::Conflict(_)))) => {
                return Err(error);
            }
            Err(error) => {
                let why = error.to_string();
                if why != said {
                    tracing::warn!(error = why, "the logs cannot be provisioned yet");
                    said = why;
                }
            }
        }
        tokio::time::sleep(PROVISION_RETRY).await;
    }
    tracing::info!("the logs are provisioned");
    for peer in log.registry().peers() {
        if let Err(error) = log.look_at_mirror(peer).await {
            tracing::debug!(%peer, %error, "the mirror cannot be seen yet");
        }
    }
    mirror(log, store, log.registry().peers()).await;
    Ok(())
}

/// Makes mirrors of the regions that can be seen. What cannot be made is tried again: nobody waits for it.
async fn mirror(log: &dyn Log, store: &dyn Comments, peers: &[Region]) {
    for peer in peers {
        let made = async {
            let stored = store.positions().await?;
            Ok::<(), ChangeError>(log.mirror(peer, &stored).await?)
        };
        match tokio::time::timeout(MIRROR, made).await {
            Ok(Ok(())) => tracing::info!(%peer, "its events are mirrored"),
            Ok(Err(error)) => tracing::debug!(%peer, %error, "its events cannot be mirrored yet"),
            Err(_) => tracing::debug!(%peer, "its events cannot be mirrored in time"),
        }
    }
}

/// After every reconnect the logs are looked at again: the server may have come back with an empty disk. A region that is
/// seen for the first time, or was made anew, gets its mirror. Ends when this process must not go on.
async fn keep_provisioned(
    log: Arc<dyn Log>,
    store: Arc<dyn Comments>,
    workers: Duration,
) -> anyhow::Error {
    let mut link = log.link();
    let mut generation = link.borrow_and_update().generation;
    loop {
        let region = log.region();
        let found = log.regions().get(region).map(log::RegionLog::partitions);
        let wanted = log.registry().partitions();
        if let Some(found) = found.filter(|found| *found != wanted) {
            return LogError::Partitions { found, wanted }.into();
        }
        if let Ok(Err(_)) = tokio::time::timeout(LAYOUT, link.changed()).await {
            std::future::pending().await
        }
        let unmirrored = log.registry().unmirrored();
        mirror(&*log, &*store, &unmirrored).await;
        let now = *link.borrow_and_update();
        if now.connected && now.generation != generation {
            generation = now.generation;
            if let Err(error) = provision(&*log, &*store, workers).await {
                return error.into();
            }
        }
    }
}
