//! The minimum length of a turn, by the load. A busy shard waits so that inputs that arrive meanwhile are handled as one
//! batch: one poll, one call of the logic and one batch of sends for many messages instead of one of each per message.

use std::time::{Duration, Instant};

/// Inputs per second up to which a shard never waits; a comment makes three inputs.
const QUIET_PER_S: u64 = 750;
/// Inputs per second from which a turn has its full minimum length.
const BUSY_PER_S: u64 = 2_000;
/// The time over which the rate is measured.
const WINDOW: Duration = Duration::from_millis(50);

/// Measures the inputs per second of a shard.
#[derive(Debug)]
pub(super) struct Pace {
    /// The minimum length of a turn under full load.
    turn_max: Duration,
    since: Instant,
    inputs: u64,
    /// Inputs per second, smoothed.
    per_s: u64,
}

impl Pace {
    pub(super) fn new(turn_max: Duration, now: Instant) -> Self {
        Self {
            turn_max,
            since: now,
            inputs: 0,
            per_s: 0,
        }
    }

    /// Counts the inputs of the turn that started at `turn`.
    pub(super) fn count(&mut self, turn: Instant, inputs: usize) {
        self.inputs += inputs as u64;
        let passed = turn.duration_since(self.since);
        if passed < WINDOW {
            return;
        }
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let per_s = self.inputs.saturating_mul(1_000_000) / micros.max(1);
        self.per_s = u64::midpoint(self.per_s, per_s);
        self.since = turn;
        self.inputs = 0;
    }

    /// Whether turns have at least a quarter of their full length now, so that receipts may be deferred.
    pub(super) fn is_busy(&self) -> bool {
        self.turn_min() * 4 >= self.turn_max && !self.turn_max.is_zero()
    }

    /// The minimum length of a turn now: zero when quiet, `turn_max` when busy, linear between.
    pub(super) fn turn_min(&self) -> Duration {
        let over = self.per_s.clamp(QUIET_PER_S, BUSY_PER_S) - QUIET_PER_S;
        let micros = u64::try_from(self.turn_max.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros.saturating_mul(over) / (BUSY_PER_S - QUIET_PER_S))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_shard_never_rests_and_a_busy_one_no_longer_than_it_may() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(8), start);
        let mut at = start;
        let mut run = |per_s: usize| {
            for _ in 0..1_000 {
                at += Duration::from_millis(1);
                pace.count(at, per_s / 1_000);
            }
            pace.turn_min()
        };
        // The test counts inputs per millisecond, so 1,000 per second is the lowest rate above zero.
        assert_eq!(run(0), Duration::ZERO);
        let between = run(1_000);
        assert!(between > Duration::from_millis(1) && between < Duration::from_millis(2));
        assert_eq!(run(50_000), Duration::from_millis(8));
        assert_eq!(run(0), Duration::ZERO);
    }
}
