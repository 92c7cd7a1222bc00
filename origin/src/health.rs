//! What is wrong now: set where it is seen, read by `/readyz`, the metrics, the log's lines and the posts' way in.
//!
//! Each condition is logged when it begins and when it is over, never per post.

mod disks;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

pub use disks::{Disk, watch};

use crate::lock::lock;

/// For how long the log may take no writes before posts are refused: a log that changes its leader is back by then, and
/// PoPs send again what came out unknown.
const WRITES_PATIENCE: Duration = Duration::from_secs(5);

/// What can be wrong with what this process keeps things in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelValue)]
pub enum Condition {
    /// The log's disk is full, read-only or away, where it is one of this machine.
    LogDisk,
    /// The log acknowledges nothing, or refuses for want of room.
    LogWrites,
    /// The store's disk is full, read-only or away.
    StoreDisk,
    /// The store failed to write.
    StoreWrites,
    /// No more files may be opened.
    Files,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::LogDisk,
        Self::LogWrites,
        Self::StoreDisk,
        Self::StoreWrites,
        Self::Files,
    ];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    condition: Condition,
}

struct Wrong {
    since: Instant,
    why: String,
}

/// What is wrong now.
pub struct Health {
    wrong: Mutex<BTreeMap<Condition, Wrong>>,
    /// Whether anything is: most looks need no more.
    any: AtomicBool,
    /// 1 per condition that holds.
    gauge: Family<Labels, Gauge>,
}

impl Health {
    /// Nothing is wrong; the gauge is the one that is registered.
    #[must_use]
    pub(crate) fn new(registry: &mut prometheus_client::registry::Registry) -> Self {
        let gauge = Family::<Labels, Gauge>::default();
        registry.register("unwell", "1 while a condition holds", gauge.clone());
        for condition in Condition::ALL {
            gauge.get_or_create(&Labels { condition }).set(0);
        }
        Self {
            wrong: Mutex::default(),
            any: AtomicBool::new(false),
            gauge,
        }
    }

    /// Notes that a condition holds, and why in words.
    pub fn begin(&self, condition: Condition, why: String) {
        let mut wrong = lock(&self.wrong);
        if let Some(known) = wrong.get_mut(&condition) {
            known.why = why;
            return;
        }
        tracing::warn!(?condition, "{why}");
        let since = Instant::now();
        wrong.insert(condition, Wrong { since, why });
        self.any.store(true, Ordering::Relaxed);
        self.gauge.get_or_create(&Labels { condition }).set(1);
    }

    /// Notes that it holds no longer.
    pub fn end(&self, condition: Condition) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut wrong = lock(&self.wrong);
        let Some(was) = wrong.remove(&condition) else {
            return;
        };
        let seconds = was.since.elapsed().as_secs();
        tracing::info!(?condition, seconds, "well again: {}", was.why);
        self.any.store(!wrong.is_empty(), Ordering::Relaxed);
        self.gauge.get_or_create(&Labels { condition }).set(0);
    }

    /// Whether it holds.
    #[must_use]
    pub fn has(&self, condition: Condition) -> bool {
        self.any.load(Ordering::Relaxed) && lock(&self.wrong).contains_key(&condition)
    }

    /// Everything that is wrong, in words; `None` when nothing is.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let wrong = lock(&self.wrong);
        let all: Vec<&str> = wrong.values().map(|wrong| wrong.why.as_str()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Whether a post would certainly not be stored, so that it need not be tried.
    #[must_use]
    pub fn refuses_posts(&self) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let wrong = lock(&self.wrong);
        wrong.contains_key(&Condition::LogDisk)
            || wrong
                .get(&Condition::LogWrites)
                .is_some_and(|wrong| wrong.since.elapsed() >= WRITES_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_condition_is_told_by_readyz_and_metric_until_it_ends_and_only_the_log_refuses_posts() {
        let metrics = Metrics::new();
        let health = &metrics.health;
        assert_eq!(health.why(), None);
        health.begin(Condition::StoreDisk, "the store's disk is full".to_owned());
        assert!(
            !health.refuses_posts(),
            "the log holds what the store lacks"
        );
        health.begin(Condition::LogDisk, "the log's disk is full".to_owned());
        assert!(health.refuses_posts());
        let why = health.why().unwrap_or_default();
        assert_eq!(why, "the log's disk is full; the store's disk is full");
        let series = "chorus_origin_unwell{condition=\"LogDisk\"}";
        assert!(metrics.text().contains(&format!("{series} 1")));
        health.end(Condition::LogDisk);
        health.end(Condition::StoreDisk);
        assert_eq!(health.why(), None);
        assert!(metrics.text().contains(&format!("{series} 0")));
    }

    #[test]
    fn a_log_that_changes_its_leader_refuses_no_post() {
        let metrics = Metrics::new();
        metrics
            .health
            .begin(Condition::LogWrites, "no acknowledgement".to_owned());
        assert!(!metrics.health.refuses_posts());
    }
}
