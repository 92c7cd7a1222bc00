//! One direction between two hosts: decides for each packet whether it is lost and when it arrives. No clock, no socket.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units::{Mbit, Millis, Probability, QueueBytes};
use crate::random::Random;

/// The least time in which jitter goes from one value to the next.
const JITTER_SLOT_MIN: Duration = Duration::from_millis(10);
/// Slots without a packet after which jitter begins anew.
const JITTER_SLOTS_MAX: u32 = 64;

/// Settings of a link of which any may be absent: what a file or a command changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// The least time one way, in ms.
    #[arg(long)]
    pub(crate) delay_ms: Option<Millis>,
    /// What is added to the delay at most, in ms: it wanders between 0 and this and reorders nothing.
    #[arg(long)]
    pub(crate) jitter_ms: Option<Millis>,
    /// The share of packets that is lost.
    #[arg(long)]
    pub(crate) loss: Option<Probability>,
    /// The share of packets that is held back by `reorder_ms`, so that those behind overtake.
    #[arg(long)]
    pub(crate) reorder: Option<Probability>,
    /// How long a reordered packet is held back, in ms.
    #[arg(long)]
    pub(crate) reorder_ms: Option<Millis>,
    /// The rate in Mbit/s.
    #[arg(long)]
    pub(crate) rate_mbit: Option<Mbit>,
    /// Bytes that wait for the rate at most; further packets are dropped.
    #[arg(long)]
    pub(crate) queue_bytes_max: Option<QueueBytes>,
}

impl Change {
    /// Whether nothing is changed.
    pub(crate) const fn is_empty(&self) -> bool {
        self.delay_ms.is_none()
            && self.jitter_ms.is_none()
            && self.loss.is_none()
            && self.reorder.is_none()
            && self.reorder_ms.is_none()
            && self.rate_mbit.is_none()
            && self.queue_bytes_max.is_none()
    }
}

/// What a link does to its packets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) reorder: f64,
    pub(crate) reorder_by: Duration,
    pub(crate) bytes_per_second: f64,
    pub(crate) queue_bytes_max: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            reorder: 0.0,
            reorder_by: Duration::from_millis(5),
            bytes_per_second: 1_000.0 * 125_000.0,
            queue_bytes_max: 4_194_304.0,
        }
    }
}

impl Settings {
    /// Takes what the change holds.
    pub(crate) fn apply(&mut self, change: &Change) {
        fn set<T>(setting: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *setting = value;
            }
        }
        set(&mut self.delay, change.delay_ms.map(Millis::duration));
        set(&mut self.jitter, change.jitter_ms.map(Millis::duration));
        set(&mut self.loss, change.loss.map(Probability::get));
        set(&mut self.reorder, change.reorder.map(Probability::get));
        set(
            &mut self.reorder_by,
            change.reorder_ms.map(Millis::duration),
        );
        set(
            &mut self.bytes_per_second,
            change.rate_mbit.map(|rate| rate.get() * 125_000.0),
        );
        set(
            &mut self.queue_bytes_max,
            change.queue_bytes_max.map(QueueBytes::get),
        );
    }
}

/// Why a packet does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// By the link's loss.
    Loss,
    /// More waits for the rate than the queue holds.
    Queue,
    /// The link is cut.
    Partition,
}

/// When a packet arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Since the network's start.
    pub(crate) due: Duration,
    /// Whether it is held back behind later ones.
    pub(crate) held_back: bool,
}

/// One direction between two hosts. Times are since the network's start and never go back.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// What it does.
    pub(crate) settings: Settings,
    /// Whether nothing passes.
    pub(crate) cut: bool,
    random: Random,
    jitter: Jitter,
    /// When the line has sent all that was accepted.
    free_at: Duration,
    /// When the last packet in order arrives.
    last_due: Duration,
}

impl Link {
    /// A link whose decisions depend on the seed, its name and the packets it is given, and on no other link.
    pub(crate) fn new(settings: Settings, seed: u64, name: &str) -> Self {
        Self {
            settings,
            cut: false,
            random: Random::new(seed, name),
            jitter: Jitter::new(Random::new(seed, &format!("{name} jitter"))),
            free_at: Duration::ZERO,
            last_due: Duration::ZERO,
        }
    }

    /// Decides about a packet of `bytes` that enters at `now`.
    pub(crate) fn send(&mut self, now: Duration, bytes: usize) -> Result<Arrival, Dropped> {
        // Each packet takes the same numbers, so that changing one setting leaves the other decisions as they were.
        let lost = self.random.share() < self.settings.loss;
        let held_back = self.random.share() < self.settings.reorder;
        if self.cut {
            return Err(Dropped::Partition);
        }
        let sent = self.transmit(now, bytes as f64).ok_or(Dropped::Queue)?;
        if lost {
            return Err(Dropped::Loss);
        }
        let jitter = self.jitter.at(sent, self.settings.jitter);
        let mut due = (sent + self.settings.delay + jitter).max(self.last_due);
        if held_back {
            due += self.settings.reorder_by;
        } else {
            self.last_due = due;
        }
        Ok(Arrival { due, held_back })
    }

    /// When the last byte has left, one packet after the other at the link's rate; `None` when the queue is full.
    fn transmit(&mut self, now: Duration, bytes: f64) -> Option<Duration> {
        let rate = self.settings.bytes_per_second;
        let waiting = self.free_at.saturating_sub(now).as_secs_f64() * rate;
        if waiting + bytes > self.settings.queue_bytes_max {
            return None;
        }
        self.free_at = self.free_at.max(now) + Duration::from_secs_f64(bytes / rate);
        Some(self.free_at)
    }
}

/// A share between 0 and 1 that wanders in straight lines from one random value to the next. Independent values for each packet
/// would either reorder a flow or, in order, hold all of a dense flow up by nearly the whole jitter.
#[derive(Clone, Debug)]
struct Jitter {
    random: Random,
    since: Duration,
    from: f64,
    to: f64,
}

impl Jitter {
    fn new(mut random: Random) -> Self {
        let (from, to) = (random.share(), random.share());
        Self {
            random,
            since: Duration::ZERO,
            from,
            to,
        }
    }

    fn at(&mut self, now: Duration, jitter: Duration) -> Duration {
        if jitter.is_zero() {
            return Duration::ZERO;
        }
        // It falls by at most half of the time that passes: what is sent later arrives later.
        let slot = JITTER_SLOT_MIN.max(jitter * 2);
        if now.saturating_sub(self.since) > slot * JITTER_SLOTS_MAX {
            (self.from, self.to) = (self.random.share(), self.random.share());
            self.since = now;
        }
        while now >= self.since + slot {
            self.from = self.to;
            self.to = self.random.share();
            self.since += slot;
        }
        let progress = now.saturating_sub(self.since).as_secs_f64() / slot.as_secs_f64();
        jitter.mul_f64(self.from + (self.to - self.from) * progress)
    }
}
