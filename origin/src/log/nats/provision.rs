//! The logs, buckets and durables as NATS is told to make them.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, IntoConsumerConfig, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{
    Config as LogConfig, DiscardPolicy, Info, Placement, Republish, StorageType,
};
use chorus_protocol::{Region, subject};

use super::Nats;
use super::plan::{FIXED, compared, laid_over};
use crate::log::consume::ACK_WAIT;
use crate::log::lease::kept;
use crate::log::plan::{Change, Step};
use crate::log::publish::DUPLICATE_WINDOW;
use crate::log::{Answer, LogError, Part, Provision, RIGHT, Regional as _};

pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// Unacknowledged messages of `persist`; the server sends no more beyond it.
const PERSIST_PENDING_MAX: i64 = 10_000;
/// The dead letters' log keeps a message for this many days.
const DEAD_DAYS: u32 = 30;
/// The durable's name of the role `persist`.
pub(super) const PERSIST: &str = "persist";

impl Provision for Nats {
    fn make_basis(&self, workers: Duration) -> Answer<'_, ()> {
        Box::pin(async move {
            for config in self.basis(workers) {
                self.put(config).await?;
            }
            Ok(())
        })
    }

    fn make_events(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            for partition in 0..self.inner.registry.partitions() {
                self.put(self.events(partition)).await?;
                let region = self.region();
                let log = subject::events_log(region, partition);
                let persist = self.persist(subject::events_of(region, partition));
                self.put_durable(&log, persist).await?;
            }
            Ok(())
        })
    }

    fn part<'a>(&'a self, region: &'a Region, partition: u16) -> Answer<'a, Option<Part>> {
        Box::pin(async move {
            let found = self.info(&subject::events_log(region, partition)).await?;
            Ok(found.as_ref().map(part))
        })
    }

    fn seal(&self, partition: u16) -> Answer<'_, ()> {
        Box::pin(async move {
            let log = subject::events_log(self.region(), partition);
            if let Some(found) = self.info(&log).await?
                && !found.config.sealed
            {
                let sealed = LogConfig {
                    sealed: true,
                    ..found.config
                };
                let sealed = self.inner.context.update_stream(sealed);
                sealed.await.map_err(LogError::refused)?;
            }
            Ok(())
        })
    }

    fn remove(&self, partition: u16) -> Answer<'_, ()> {
        Box::pin(async move {
            let log = subject::events_log(self.region(), partition);
            if self.info(&log).await?.is_some() {
                let removed = self.inner.context.delete_stream(&log);
                removed.await.map_err(LogError::refused)?;
            }
            Ok(())
        })
    }

    fn leaders(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            for log in self.registry().logs() {
                let found = self.info(&log).await?;
                let led = found.is_some_and(|found| {
                    let cluster = found.cluster.as_ref();
                    cluster.is_none_or(|cluster| cluster.leader.is_some())
                });
                if !led {
                    return Err(LogError::Away(format!("{log} has no leader")));
                }
            }
            Ok(())
        })
    }
}

impl Nats {
    /// `None`: there is no such log.
    pub(super) async fn info(&self, log: &str) -> Result<Option<Info>, LogError> {
        let found = match self.inner.context.get_stream(log).await {
            Ok(found) => found,
            Err(error) => {
                if let GetStreamErrorKind::JetStream(error) = error.kind()
                    && error.error_code() == ErrorCode::STREAM_NOT_FOUND
                {
                    return Ok(None);
                }
                return Err(LogError::away(error));
            }
        };
        Ok(Some(found.cached_info().clone()))
    }

    /// Makes a log, or changes what differs of it.
    pub(super) async fn put(&self, config: LogConfig) -> Result<(), LogError> {
        let name = config.name.clone();
        let refused = |error: &dyn std::fmt::Display| LogError::Refused(format!("{name}: {error}"));
        let context = &self.inner.context;
        let found = self.info(&name).await?.map(|info| info.config);
        let change = compared(found.as_ref(), &config, &FIXED)?;
        match (&change, found) {
            (Change::Set(_), Some(found)) => {
                let config = laid_over(&found, &config)?;
                let set = context.update_stream(&config).await;
                set.map_err(|error| refused(&error))?;
            }
            (Change::Make, _) => {
                let made = context.create_stream(config).await;
                made.map_err(|error| refused(&error))?;
            }
            (Change::Refuse(_), _) => {
                let step = Step { name, change };
                return Err(LogError::Refused(step.to_string()));
            }
            (_, _) => return Ok(()),
        }
        tracing::info!("{}", Step { name, change });
        Ok(())
    }

    /// The logs of a region besides those of its events, and its buckets.
    pub(super) fn basis(&self, workers: Duration) -> Vec<LogConfig> {
        let region = self.region();
        vec![
            self.control(),
            self.reactions(),
            self.dead(),
            self.presence(),
            self.leases(&subject::workers_bucket(region), workers),
            self.leases(&subject::rights_bucket(region), RIGHT),
        ]
    }

    /// A bucket of leases, as the client library makes them.
    fn leases(&self, bucket: &str, lease: Duration) -> LogConfig {
        LogConfig {
            max_age: kept(lease),
            max_bytes: subject::LEASES_BYTES_MAX as i64,
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            ..self.base(subject::bucket_log(bucket), vec![format!("$KV.{bucket}.>")])
        }
    }

    /// The durable of `persist` on a log's subjects.
    pub(super) fn persist(&self, subject: String) -> pull::Config {
        pull::Config {
            durable_name: Some(PERSIST.to_owned()),
            filter_subject: subject,
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::All,
            ack_wait: ACK_WAIT,
            max_ack_pending: PERSIST_PENDING_MAX,
            ..pull::Config::default()
        }
    }

    /// Makes a durable, or changes what differs of it.
    pub(super) async fn put_durable(
        &self,
        log: &str,
        config: impl IntoConsumerConfig,
    ) -> Result<(), LogError> {
        let config = config.into_consumer_config();
        let name = config.durable_name.clone().unwrap_or_default();
        let found = self.durable(log, &name).await?;
        let change = compared(found.as_ref(), &config, &[])?;
        if change == Change::Leave {
            return Ok(());
        }
        let made = self.inner.context.create_consumer_on_stream(config, log);
        let name = format!("{log}/{name}");
        let made = made.await;
        made.map_err(|error| LogError::Refused(format!("{name}: {error}")))?;
        tracing::info!("{}", Step { name, change });
        Ok(())
    }

    fn placement(&self) -> Option<Placement> {
        self.inner.config.cluster.as_ref().map(|cluster| Placement {
            cluster: Some(cluster.clone()),
            tags: vec![format!("region:{}", self.region())],
        })
    }

    pub(super) fn base(&self, name: String, subjects: Vec<String>) -> LogConfig {
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

    pub(super) fn events(&self, partition: u16) -> LogConfig {
        let region = self.region();
        let subjects = vec![subject::events_of(region, partition)];
        LogConfig {
            max_bytes: self.inner.config.events_bytes_max,
            max_age: DAY * self.inner.config.events_days,
            duplicate_window: DUPLICATE_WINDOW,
            discard: DiscardPolicy::New,
            republish: Some(live()),
            ..self.base(subject::events_log(region, partition), subjects)
        }
    }

    fn control(&self) -> LogConfig {
        let region = self.region();
        LogConfig {
            max_bytes: self.inner.config.control_bytes_max,
            // The oldest word on a stream is not given up for a new one.
            discard: DiscardPolicy::New,
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
            // When full, the totals that were not changed for longest go: a counter log cannot refuse the new.
            max_bytes: self.inner.config.reactions_bytes_max,
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
        let region = self.region();
        LogConfig {
            max_bytes: self.inner.config.dead_bytes_max,
            max_age: DAY * DEAD_DAYS,
            duplicate_window: DUPLICATE_WINDOW,
            ..self.base(subject::dead_log(region), vec![subject::dead(region, "*")])
        }
    }
}

/// What a log is and holds.
pub(super) fn part(info: &Info) -> Part {
    let created_ms = info.created.unix_timestamp_nanos() / 1_000_000;
    Part {
        created_ms: u64::try_from(created_ms).unwrap_or(0),
        first_seq: info.state.first_sequence,
        last_seq: info.state.last_sequence,
    }
}

pub(super) fn live() -> Republish {
    Republish {
        source: ">".to_owned(),
        destination: "live.>".to_owned(),
        headers_only: false,
    }
}
