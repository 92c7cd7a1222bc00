//! The scrape: sums of the shards' metrics, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::shard::{CLOSE_CODES, GAUGES, Histogram, ShardMetrics};
use crate::backhaul::Kind;
use crate::component::Stats;
use crate::pop::PopState;
use crate::ws::handshake::Refusal;

/// A registry with the metrics of the shards and the backhaul; all names begin with `chorus_edge_`.
#[must_use]
pub fn registry(
    shards: Vec<Arc<ShardMetrics>>,
    pop: Arc<PopState>,
    backhaul: Arc<crate::backhaul::Metrics>,
) -> Registry {
    let mut registry = Registry::with_prefix("chorus_edge");
    registry.register_collector(Box::new(PopCollector {
        shards,
        pop,
        backhaul,
    }));
    registry
}

/// Collects the metrics of a PoP: sums over its shards, and the backhaul's.
#[derive(Debug)]
pub struct PopCollector {
    shards: Vec<Arc<ShardMetrics>>,
    pop: Arc<PopState>,
    backhaul: Arc<crate::backhaul::Metrics>,
}

impl PopCollector {
    fn sum(&self, read: impl Fn(&ShardMetrics) -> u64) -> u64 {
        self.shards.iter().map(|shard| read(shard)).sum()
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Gauge)?
        .encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))
}

impl PopCollector {
    fn histogram(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, unit, scale): (&str, &str, Option<&Unit>, f64),
        pick: impl Fn(&ShardMetrics) -> &Histogram,
    ) -> fmt::Result {
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        let mut sum = 0u64;
        for shard in &self.shards {
            let (more, more_sum) = pick(shard).read();
            sum = sum.wrapping_add(more_sum);
            if buckets.is_empty() {
                buckets = more;
            } else {
                for (bucket, (_, count)) in buckets.iter_mut().zip(more) {
                    bucket.1 += count;
                }
            }
        }
        let count = buckets.iter().map(|(_, count)| count).sum();
        for (bound, _) in &mut buckets {
            if *bound < f64::MAX {
                *bound *= scale;
            }
        }
        encoder
            .encode_descriptor(name, help, unit, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(sum as f64 * scale, count, &buckets, None)
    }

    fn logic(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut stats = Stats::default();
        let mut own: BTreeMap<String, u64> = BTreeMap::new();
        for shard in &self.shards {
            // A poisoned lock means that a thread panicked while it wrote; the numbers can still be read.
            let logic = shard
                .logic
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            add(&mut stats, &logic.0);
            for (name, value) in &logic.1 {
                *own.entry(name.clone()).or_default() += value;
            }
        }
        for (name, help, value) in [
            (
                "component_calls",
                "Calls into the session component",
                stats.calls,
            ),
            (
                "component_inputs",
                "Inputs handled by the session component",
                stats.inputs,
            ),
            (
                "component_traps",
                "Calls that trapped or passed their deadline",
                stats.traps,
            ),
            (
                "component_closed",
                "Viewers closed with 1011 because their input trapped",
                stats.closed,
            ),
            (
                "component_skipped",
                "Inputs of no viewer that trapped and were skipped",
                stats.skipped,
            ),
            (
                "component_recoveries",
                "Instances replaced without loss",
                stats.recoveries,
            ),
            (
                "component_recovery_us",
                "Microseconds that recoveries took",
                stats.recovery_us,
            ),
            ("component_resets", "Shards that began anew", stats.resets),
            ("component_swaps", "Swaps to other logic", stats.swaps),
            (
                "component_swaps_failed",
                "Swaps that did not come about",
                stats.swaps_failed,
            ),
            (
                "component_rollbacks",
                "Times the logic before a swap came back by itself",
                stats.rollbacks,
            ),
            ("component_snapshots", "Snapshots taken", stats.snapshots),
            (
                "component_snapshots_failed",
                "Snapshots that could not be taken",
                stats.snapshots_failed,
            ),
            (
                "component_snapshot_bytes",
                "Bytes of all snapshots",
                stats.snapshot_bytes,
            ),
            (
                "component_snapshot_us",
                "Microseconds that snapshots took",
                stats.snapshot_us,
            ),
            (
                "component_stale_answers",
                "Answers to requests from before a reset",
                stats.stale_answers,
            ),
        ] {
            counter(encoder, name, help, value)?;
        }
        gauge(
            encoder,
            "journal_inputs",
            "Inputs in the journals",
            stats.journal_inputs,
        )?;
        gauge(
            encoder,
            "journal_bytes",
            "Bytes in the journals",
            stats.journal_bytes,
        )?;
        for (name, value) in own {
            // The component chooses these names, so invalid ones are left out.
            if !name.is_empty()
                && name.len() <= 64
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            {
                counter(
                    encoder,
                    &format!("session_{name}"),
                    "Counted by the session component",
                    value,
                )?;
            }
        }
        Ok(())
    }
}

fn add(sum: &mut Stats, more: &Stats) {
    sum.calls += more.calls;
    sum.inputs += more.inputs;
    sum.traps += more.traps;
    sum.closed += more.closed;
    sum.skipped += more.skipped;
    sum.recoveries += more.recoveries;
    sum.recovery_us += more.recovery_us;
    sum.resets += more.resets;
    sum.swaps += more.swaps;
    sum.swaps_failed += more.swaps_failed;
    sum.rollbacks += more.rollbacks;
    sum.snapshots += more.snapshots;
    sum.snapshots_failed += more.snapshots_failed;
    sum.snapshot_bytes += more.snapshot_bytes;
    sum.snapshot_us += more.snapshot_us;
    sum.stale_answers += more.stale_answers;
    sum.journal_inputs += more.journal_inputs;
    sum.journal_bytes += more.journal_bytes;
}

impl Collector for PopCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        gauge(
            encoder,
            "ready",
            "Whether this PoP takes viewers",
            u64::from(self.pop.is_ready()),
        )?;
        counter(
            encoder,
            "log_lines_lost",
            "Log lines that could not be written or waited in too long a queue",
            chorus_telemetry::lines_lost(),
        )?;
        gauge(
            encoder,
            "shards",
            "Shards of this PoP",
            self.shards.len() as u64,
        )?;
        let numbers = self
            .shards
            .first()
            .into_iter()
            .flat_map(|shard| shard.numbers());
        for (index, (name, help, _)) in numbers.enumerate() {
            let value = self.sum(|shard| {
                shard
                    .numbers()
                    .nth(index)
                    .map_or(0, |(_, _, number)| number.get())
            });
            if GAUGES.contains(&name) {
                gauge(encoder, name, help.trim(), value)?;
            } else {
                counter(encoder, name, help.trim(), value)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "refused",
            "Upgrades refused, by reason",
            None,
            MetricType::Counter,
        )?;
        for (index, refusal) in Refusal::ALL.iter().enumerate() {
            family
                .encode_family(&[("reason", refusal.name())])?
                .encode_counter::<NoLabelSet, _, u64>(
                    &self.sum(|shard| shard.refused[index].get()),
                    None,
                )?;
        }
        let mut family = encoder.encode_descriptor(
            "closed",
            "WebSockets closed, by code",
            None,
            MetricType::Counter,
        )?;
        for (index, code) in CLOSE_CODES.iter().enumerate() {
            let label = if *code == 0 {
                "other".to_owned()
            } else {
                code.to_string()
            };
            family
                .encode_family(&[("code", label.as_str())])?
                .encode_counter::<NoLabelSet, _, u64>(
                    &self.sum(|shard| shard.closed[index].get()),
                    None,
                )?;
        }
        let seconds = Unit::Seconds;
        self.histogram(
            encoder,
            (
                "handle",
                "Time of the session for a batch of inputs",
                Some(&seconds),
                1e-6,
            ),
            |shard| &shard.handle_us,
        )?;
        self.histogram(
            encoder,
            ("handle_inputs", "Inputs of a batch", None, 1.0),
            |shard| &shard.handle_inputs,
        )?;
        self.histogram(
            encoder,
            ("send_batch", "Frames sent with one call", None, 1.0),
            |shard| &shard.send_batch,
        )?;
        self.logic(encoder)?;
        let mut written = Ok(());
        self.backhaul.each(|name, help, kind, value| {
            let name = format!("backhaul_{name}");
            written = written.and_then(|()| match kind {
                Kind::Counter => counter(encoder, &name, help, value),
                Kind::Gauge => gauge(encoder, &name, help, value),
            });
        });
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_added_up_in_prometheus_text() {
        let shards: Vec<Arc<ShardMetrics>> = (0..2).map(|_| Arc::default()).collect();
        for shard in &shards {
            shard.connections.set(2);
            shard.accepted.add(3);
            shard.count_closed(1009);
            shard.count_closed(3999);
            shard.count_refused(Refusal::NoUpgrade);
            shard.handle_us.observe(900);
            let mut logic = shard.logic.lock().expect("not poisoned");
            logic.0.traps = 1;
            logic.1.insert("comments".to_owned(), 5);
            logic.1.insert("not a name\n".to_owned(), 5);
        }
        let registry = registry(shards, Arc::new(PopState::new(10)), Arc::default());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        for line in [
            "chorus_edge_connections 4\n",
            "chorus_edge_accepted_total 6\n",
            "chorus_edge_closed_total{code=\"1009\"} 2\n",
            "chorus_edge_closed_total{code=\"other\"} 2\n",
            "chorus_edge_refused_total{reason=\"no_upgrade\"} 2\n",
            "chorus_edge_handle_seconds_count 2\n",
            "chorus_edge_handle_seconds_bucket{le=\"0.001024\"} 2\n",
            "chorus_edge_component_traps_total 2\n",
            "chorus_edge_session_comments_total 10\n",
            "chorus_edge_ready 0\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("not a name"));
    }
}
