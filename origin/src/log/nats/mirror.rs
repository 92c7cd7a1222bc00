//! Mirrors as NATS is told to make them.
//!
//! By itself nats-server feeds a mirror by a consumer of the moment, which stalls for 12 to 17 s after the origin's leader
//! died. By a durable at the origin, paced by flow control, it goes on when the origin does.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, push};
use async_nats::jetstream::stream::{
    Config as LogConfig, DiscardPolicy, Source, StreamConsumerSource,
};
use chorus_protocol::{Region, subject};

use super::Nats;
use super::provision::{DAY, part};
use crate::log::{Answer, LogError, Mirror, MirrorPart, Plan, RegionLog, Regional as _};

/// A mirror that hears nothing for longer asks its durable again.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// What the mirror's own configuration says of its origin.
const EPOCH: &str = "chorus.epoch";
const PARTITIONS: &str = "chorus.partitions";

impl Mirror for Nats {
    fn mirror_part<'a>(
        &'a self,
        region: &'a Region,
        partition: u16,
    ) -> Answer<'a, Option<MirrorPart>> {
        Box::pin(async move {
            let log = subject::mirror_log(self.region(), region, partition);
            let Some(info) = self.info(&log).await? else {
                return Ok(None);
            };
            let says = |key: &str| info.config.metadata.get(key);
            let epoch = says(EPOCH).and_then(|epoch| epoch.parse().ok());
            let partitions = says(PARTITIONS).and_then(|number| number.parse().ok());
            let (Some(epoch), Some(partitions)) = (epoch, partitions) else {
                let why = format!("{log} does not say which incarnation it is of");
                return Err(LogError::Malformed(why));
            };
            Ok(Some(MirrorPart {
                epoch,
                partitions,
                part: part(&info),
            }))
        })
    }

    fn make_mirror<'a>(
        &'a self,
        region: &'a Region,
        of: &'a RegionLog,
        partition: u16,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let origin = subject::events_log(region, partition);
            let log = subject::mirror_log(self.region(), region, partition);
            self.put_durable(&origin, self.mirror_feed(region, partition))
                .await?;
            self.put(self.mirror_config(region, of, partition)).await?;
            let persist = self.persist(subject::events_of(region, partition));
            self.put_durable(&log, persist).await
        })
    }

    fn plan(&self, workers: Duration) -> Answer<'_, Plan> {
        Box::pin(self.whole_plan(workers))
    }

    fn remove_mirror<'a>(&'a self, region: &'a Region, partition: u16) -> Answer<'a, ()> {
        Box::pin(async move {
            let log = subject::mirror_log(self.region(), region, partition);
            let removed = self.inner.context.delete_stream(&log);
            removed.await.map(|_| ()).map_err(LogError::refused)
        })
    }
}

impl Nats {
    pub(super) fn mirror_config(
        &self,
        region: &Region,
        of: &RegionLog,
        partition: u16,
    ) -> LogConfig {
        let own = self.region();
        let config = &self.inner.config;
        let consumer = StreamConsumerSource::new(
            subject::mirror_durable(own),
            subject::mirror_delivery(own, region, partition),
        );
        LogConfig {
            max_bytes: config.mirror_bytes_max,
            max_age: DAY * config.mirror_days,
            // A mirror that is full goes on, and the origin has what it gave up.
            discard: DiscardPolicy::Old,
            // nats-server sets it anyway, because the origin answers Direct Gets.
            mirror_direct: true,
            mirror: Some(Source {
                name: subject::events_log(region, partition),
                consumer: Some(consumer),
                ..Source::default()
            }),
            metadata: HashMap::from([
                (EPOCH.to_owned(), of.epoch.to_string()),
                (PARTITIONS.to_owned(), of.partitions().to_string()),
            ]),
            ..self.base(subject::mirror_log(own, region, partition), Vec::new())
        }
    }

    /// The durable at the origin.
    pub(super) fn mirror_feed(&self, region: &Region, partition: u16) -> push::Config {
        let own = self.region();
        push::Config {
            durable_name: Some(subject::mirror_durable(own)),
            deliver_subject: subject::mirror_delivery(own, region, partition),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::FlowControl,
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            ..push::Config::default()
        }
    }
}
