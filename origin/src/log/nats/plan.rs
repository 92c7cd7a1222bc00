//! What is there in NATS beside what there should be: only settings that are ours are compared and changed.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, IntoConsumerConfig};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::Config as LogConfig;
use chorus_protocol::{Region, subject};
use futures_util::TryStreamExt as _;
use serde::Serialize;
use serde_json::Value;

use super::Nats;
use crate::log::plan::{Change, Field, Plan};
use crate::log::{LogError, Mirror as _, Provision as _, Regional as _};

/// What nats-server never changes in a log.
pub(super) const FIXED: [&str; 6] = [
    "storage",
    "retention",
    "mirror",
    "allow_msg_counter",
    "max_consumers",
    "deny_delete",
];

/// What becomes of a log or durable: `fixed` settings cannot be changed.
pub(super) fn compared<T: Serialize>(
    found: Option<&T>,
    wanted: &T,
    fixed: &[&str],
) -> Result<Change, LogError> {
    let Some(found) = found else {
        return Ok(Change::Make);
    };
    let value = |it: &T| serde_json::to_value(it).map_err(LogError::malformed);
    let (found, wanted) = (value(found)?, value(wanted)?);
    let fields = differences(&found, &wanted);
    let stuck: Vec<Field> = fields
        .iter()
        .filter(|field| fixed.contains(&field.name.as_str()))
        .cloned()
        .collect();
    Ok(match (fields.is_empty(), stuck.is_empty()) {
        (true, _) => Change::Leave,
        (false, true) => Change::Set(fields),
        (false, false) => Change::Refuse(stuck),
    })
}

/// A log's settings with ours laid over them: what is not ours stays.
pub(super) fn laid_over(found: &LogConfig, wanted: &LogConfig) -> Result<LogConfig, LogError> {
    let mut all = serde_json::to_value(found).map_err(LogError::malformed)?;
    lay(
        &mut all,
        serde_json::to_value(wanted).map_err(LogError::malformed)?,
    );
    serde_json::from_value(all).map_err(LogError::malformed)
}

fn lay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

fn differences(found: &Value, wanted: &Value) -> Vec<Field> {
    let Value::Object(ours) = wanted else {
        return Vec::new();
    };
    let differs = ours.iter().filter_map(|(name, to)| {
        // What we say nothing of is the server's to choose.
        let from = found.get(name).unwrap_or(&Value::Null);
        (!to.is_null() && !holds(from, to)).then(|| Field {
            name: name.clone(),
            from: from.to_string(),
            to: to.to_string(),
        })
    });
    differs.collect()
}

/// Whether all of `wanted` is in `found`.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            value.is_null() || found.get(key).is_some_and(|found| holds(found, value))
        }),
        (found, wanted) => found == wanted,
    }
}

impl Nats {
    /// A durable's settings; `None`: there is none.
    pub(super) async fn durable(
        &self,
        log: &str,
        name: &str,
    ) -> Result<Option<consumer::Config>, LogError> {
        let found = self.inner.context.get_stream_no_info(log).await;
        let found = found.map_err(LogError::away)?;
        match found.consumer_info(name).await {
            Ok(info) => Ok(Some(info.config)),
            Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => Ok(None),
            Err(error) => Err(LogError::away(error)),
        }
    }

    /// What becomes of a log and its durable.
    async fn plan_log(
        &self,
        plan: &mut Plan,
        wanted: &LogConfig,
        durables: Vec<consumer::Config>,
    ) -> Result<(), LogError> {
        let name = &wanted.name;
        let found = self.info(name).await?;
        let is_there = found.is_some();
        let change = compared(found.map(|it| it.config).as_ref(), wanted, &FIXED)?;
        plan.push(name.clone(), change);
        for wanted in durables {
            let durable = wanted.durable_name.clone().unwrap_or_default();
            let found = if is_there {
                self.durable(name, &durable).await?
            } else {
                None
            };
            let change = compared(found.as_ref(), &wanted, &[])?;
            plan.push(format!("{name}/{durable}"), change);
        }
        Ok(())
    }

    pub(super) async fn whole_plan(&self, workers: Duration) -> Result<Plan, LogError> {
        let mut plan = Plan::default();
        let mut wanted = BTreeSet::new();
        for config in self.basis(workers) {
            self.plan_log(&mut plan, &config, Vec::new()).await?;
            wanted.insert(config.name);
        }
        self.plan_record(&mut plan).await?;
        for partition in 0..self.registry().partitions() {
            let durable = self.persist(subject::events_of(self.region(), partition));
            let durables = vec![durable.into_consumer_config()];
            let config = self.events(partition);
            self.plan_log(&mut plan, &config, durables).await?;
            wanted.insert(config.name);
        }
        for peer in self.registry().peers() {
            self.plan_mirror(&mut plan, &mut wanted, peer).await?;
        }
        self.plan_left_over(&mut plan, &wanted).await?;
        Ok(plan)
    }

    /// How the region says that it is laid out.
    async fn plan_record(&self, plan: &mut Plan) -> Result<(), LogError> {
        let region = self.region();
        let name = format!("the record of {region}");
        if self.info(&subject::control_log(region)).await?.is_none() {
            plan.push(name, Change::Make);
            return Ok(());
        }
        let Some((record, _)) = self.record(region).await? else {
            plan.push(name, Change::Make);
            return Ok(());
        };
        let field = |name: &str, from: String, to: String| Field {
            name: name.to_owned(),
            from,
            to,
        };
        let partitions = self.registry().partitions();
        if record.partitions != partitions {
            // That empties logs, which an origin does once its store has all they hold.
            let from = record.partitions.to_string();
            let field = field("partitions", from, partitions.to_string());
            plan.push(name, Change::Refuse(vec![field]));
            return Ok(());
        }
        let workers = self.registry().workers();
        let change = if record.workers == workers {
            Change::Leave
        } else {
            let (from, to) = (format!("{:?}", record.workers), format!("{workers:?}"));
            Change::Set(vec![field("workers", from, to)])
        };
        plan.push(name, change);
        Ok(())
    }

    async fn plan_mirror(
        &self,
        plan: &mut Plan,
        wanted: &mut BTreeSet<String>,
        peer: &Region,
    ) -> Result<(), LogError> {
        let looked = self.registry().of_peer(peer, self.look_at(peer)).await;
        let known = match looked {
            Ok(known) => known,
            Err(error) => {
                let why = format!("{peer} cannot be seen: {error}");
                plan.push(format!("the mirror of {peer}"), Change::Wait(why));
                let prefix = format!("MIRROR_{}_{peer}_", self.region());
                wanted.insert(prefix);
                return Ok(());
            }
        };
        for partition in 0..known.partitions() {
            let name = subject::mirror_log(self.region(), peer, partition);
            wanted.insert(name.clone());
            let old = self.mirror_part(peer, partition).await?;
            if let Some(old) = old.filter(|old| old.epoch != known.epoch) {
                let why = format!(
                    "it is of an earlier log of {peer} ({}, now {}): an origin makes it anew once its store has it",
                    old.epoch, known.epoch
                );
                plan.push(name, Change::Wait(why));
                continue;
            }
            let origin = subject::events_log(peer, partition);
            let feed = self.mirror_feed(peer, partition).into_consumer_config();
            let durable = feed.durable_name.clone().unwrap_or_default();
            let found = self.durable(&origin, &durable).await?;
            plan.push(
                format!("{origin}/{durable}"),
                compared(found.as_ref(), &feed, &[])?,
            );
            let config = self.mirror_config(peer, &known, partition);
            let durables = self.persist(subject::events_of(peer, partition));
            self.plan_log(plan, &config, vec![durables.into_consumer_config()])
                .await?;
        }
        Ok(())
    }

    /// Logs of ours that the configuration does not name.
    async fn plan_left_over(
        &self,
        plan: &mut Plan,
        wanted: &BTreeSet<String>,
    ) -> Result<(), LogError> {
        let own = self.region();
        let names = self.inner.context.stream_names();
        let names: Vec<String> = names.try_collect().await.map_err(LogError::away)?;
        let mirrors = format!("MIRROR_{own}_");
        let known: Vec<Region> = self.all_regions();
        for name in names {
            let of_a_peer_that_is_away = wanted
                .iter()
                .any(|prefix| prefix.ends_with('_') && name.starts_with(prefix));
            if wanted.contains(&name) || of_a_peer_that_is_away {
                continue;
            }
            let events = name.strip_prefix("EVENTS_");
            let region = events.and_then(|rest| Some(rest.rsplit_once('_')?.0));
            let why = match region {
                Some(_) | None if name.starts_with(&mirrors) => {
                    "the configuration names no such peer".to_owned()
                }
                Some(region) if region == own.as_str() => {
                    "there are fewer partitions now".to_owned()
                }
                Some(region) if known.iter().all(|known| known.as_str() != region) => {
                    format!("the configuration names no region {region}")
                }
                Some(_) | None => continue,
            };
            let held = self
                .info(&name)
                .await?
                .map_or(0, |info| info.state.messages);
            plan.push(
                name,
                Change::LeftOver(format!("{why}; it holds {held} events")),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_is_compared_and_changed() {
        let wanted = LogConfig {
            name: "X".to_owned(),
            max_bytes: 5,
            ..LogConfig::default()
        };
        let mut found = LogConfig {
            description: Some("an operator's".to_owned()),
            max_message_size: -1,
            metadata: [("_nats.level".to_owned(), "1".to_owned())].into(),
            ..wanted.clone()
        };
        let leave = compared(Some(&found), &wanted, &FIXED).expect("comparable");
        assert_eq!(leave, Change::Leave);
        found.max_bytes = 4;
        let set = compared(Some(&found), &wanted, &FIXED).expect("comparable");
        let field = Field {
            name: "max_bytes".to_owned(),
            from: "4".to_owned(),
            to: "5".to_owned(),
        };
        assert_eq!(set, Change::Set(vec![field.clone()]));
        let refused = compared(Some(&found), &wanted, &["max_bytes"]).expect("comparable");
        assert_eq!(refused, Change::Refuse(vec![field]));
        let over = laid_over(&found, &wanted).expect("a configuration");
        assert_eq!((over.max_bytes, over.description), (5, found.description));
        let none = compared(None, &wanted, &FIXED).expect("comparable");
        assert_eq!(none, Change::Make);
    }
}
