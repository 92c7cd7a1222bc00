//! Provisioning: every log, bucket and durable this region needs, made or brought up to date before a role starts.
//!
//! Idempotent, and run again after every reconnect: a server whose disk was wiped gets its logs back, and their new
//! epochs are noticed.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{
    Config as LogConfig, DiscardPolicy, Placement, Republish, StorageType,
};
use async_nats::jetstream::{kv, stream::Info};
use chorus_protocol::{Region, subject};

use super::{Log, LogError, RegionLog, event_subjects, events_log};

/// Repeats of a message id are recognised for this long.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(86_400);
/// Unacknowledged messages of `persist`; the server sends no more beyond it.
const PERSIST_PENDING_MAX: i64 = 10_000;
/// The dead letters' log keeps a message for this many days.
const DEAD_DAYS: u32 = 30;
/// How long a right lasts without renewal.
pub(super) const RIGHT: Duration = Duration::from_secs(6);
/// The durable's name of the role `persist`.
pub(super) const PERSIST: &str = "persist";

impl Log {
    /// Creates what is missing and updates what differs. `workers` is how long a worker number is leased.
    ///
    /// # Errors
    /// When a server refuses or does not answer.
    pub async fn provision(&self, workers: Duration) -> Result<(), LogError> {
        let events = self.put(self.events()).await?;
        self.put(self.control()).await?;
        self.put(self.reactions()).await?;
        self.put(self.dead()).await?;
        self.put_leases(self.workers_bucket(), workers).await?;
        self.put_leases(self.rights_bucket(), RIGHT).await?;
        self.put_durable().await?;
        self.note_region(&self.inner.region, &events);
        self.look_at_peers().await;
        Ok(())
    }

    /// Whether this region's logs have leaders now.
    ///
    /// # Errors
    /// When one has none, or a server does not answer.
    pub async fn leaders(&self) -> Result<(), LogError> {
        let region = self.region();
        for log in [
            events_log(region),
            subject::control_log(region),
            subject::reactions_log(region),
        ] {
            let found = self.info(&log).await?;
            let led = found
                .cluster
                .as_ref()
                .is_none_or(|cluster| cluster.leader.is_some());
            if !led {
                return Err(LogError::Away(format!("{log} has no leader")));
            }
        }
        Ok(())
    }

    /// Looks at a region's events again: its epoch and the oldest it holds.
    ///
    /// # Errors
    /// When it is away.
    pub async fn look_at(&self, region: &Region) -> Result<RegionLog, LogError> {
        let info = self.info(&events_log(region)).await?;
        Ok(self.note_region(region, &info))
    }

    async fn look_at_peers(&self) {
        for peer in &self.inner.config.peers {
            if let Err(error) = self.look_at(peer).await {
                tracing::warn!(%peer, %error, "a peer's log cannot be seen yet");
            }
        }
    }

    fn note_region(&self, region: &Region, info: &Info) -> RegionLog {
        let created_ms = info.created.unix_timestamp_nanos() / 1_000_000;
        let seen = RegionLog {
            epoch: u64::try_from(created_ms).unwrap_or(0),
            first_seq: info.state.first_sequence,
            last_seq: info.state.last_sequence,
        };
        let mut regions = self
            .inner
            .regions
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        regions.insert(region.clone(), seen);
        seen
    }

    async fn info(&self, log: &str) -> Result<Info, LogError> {
        let found = self
            .inner
            .context
            .get_stream_no_info(log)
            .await
            .map_err(LogError::away)?;
        found.get_info().await.map_err(LogError::away)
    }

    async fn put(&self, config: LogConfig) -> Result<Info, LogError> {
        let name = config.name.clone();
        self.inner
            .context
            .create_or_update_stream(config)
            .await
            .map_err(|error| LogError::Refused(format!("{name}: {error}")))
    }

    async fn put_leases(&self, bucket: String, lease: Duration) -> Result<(), LogError> {
        let config = kv::Config {
            bucket,
            history: 1,
            // The bucket forgets later than the holder stops, so that clocks may differ a little.
            max_age: lease + lease / 2,
            storage: StorageType::File,
            num_replicas: self.inner.config.replicas,
            placement: self.placement(),
            ..kv::Config::default()
        };
        self.inner
            .context
            .create_or_update_key_value(config)
            .await
            .map(|_| ())
            .map_err(LogError::refused)
    }

    pub(super) fn workers_bucket(&self) -> String {
        format!("WORKERS_{}", self.region())
    }

    pub(super) fn rights_bucket(&self) -> String {
        format!("RIGHTS_{}", self.region())
    }

    async fn put_durable(&self) -> Result<(), LogError> {
        let config = pull::Config {
            durable_name: Some(PERSIST.to_owned()),
            filter_subject: event_subjects(self.region()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::All,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: PERSIST_PENDING_MAX,
            ..pull::Config::default()
        };
        let made = self
            .inner
            .context
            .create_consumer_on_stream(config, events_log(self.region()))
            .await;
        made.map(|_| ()).map_err(LogError::refused)
    }

    fn placement(&self) -> Option<Placement> {
        self.inner.config.cluster.as_ref().map(|cluster| Placement {
            cluster: Some(cluster.clone()),
            tags: vec![format!("region:{}", self.region())],
        })
    }

    fn base(&self, name: String, subjects: Vec<String>) -> LogConfig {
        LogConfig {
            name,
            subjects,
            storage: StorageType::File,
            num_replicas: self.inner.config.replicas,
            max_bytes: -1,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            allow_direct: true,
            placement: self.placement(),
            ..LogConfig::default()
        }
    }

    fn events(&self) -> LogConfig {
        let region = self.region();
        let subjects = vec![event_subjects(region)];
        LogConfig {
            max_bytes: self.inner.config.events_bytes_max,
            max_age: DAY * self.inner.config.events_days,
            duplicate_window: DUPLICATE_WINDOW,
            discard: DiscardPolicy::New,
            republish: Some(live()),
            ..self.base(events_log(region), subjects)
        }
    }

    fn control(&self) -> LogConfig {
        let region = self.region();
        LogConfig {
            max_messages_per_subject: 1,
            allow_message_ttl: true,
            republish: Some(live()),
            ..self.base(
                subject::control_log(region),
                vec![format!("control.{region}.>")],
            )
        }
    }

    fn reactions(&self) -> LogConfig {
        let region = self.region();
        LogConfig {
            // Each message carries the running total, so the last of a subject is all there is to keep.
            max_messages_per_subject: 1,
            allow_message_counter: true,
            duplicate_window: DUPLICATE_WINDOW,
            republish: Some(live()),
            ..self.base(
                subject::reactions_log(region),
                vec![format!("reaction.{region}.>")],
            )
        }
    }

    fn dead(&self) -> LogConfig {
        LogConfig {
            max_age: DAY * DEAD_DAYS,
            duplicate_window: DUPLICATE_WINDOW,
            ..self.base("DEAD".to_owned(), vec!["dead.>".to_owned()])
        }
    }
}

fn live() -> Republish {
    Republish {
        source: ">".to_owned(),
        destination: "live.>".to_owned(),
        headers_only: false,
    }
}
