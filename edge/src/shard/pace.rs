//! How long a busy shard rests between turns, so that what comes meanwhile is done in one go: one wait, one call of
//! the logic, one batch of sends for many messages instead of one of each for every message.

use std::time::{Duration, Instant};

/// Inputs a second up to which each is taken as soon as it is there; a comment has three.
const QUIET_PER_S: u64 = 750;
/// Inputs a second from which a turn has its full length.
const BUSY_PER_S: u64 = 2_000;
/// How often the rate is looked at.
const WINDOW: Duration = Duration::from_millis(50);

/// The rhythm of a shard.
#[derive(Debug)]
pub(super) struct Pace {
    /// What a turn of a busy shard lasts at least.
    turn_max: Duration,
    since: Instant,
    inputs: u64,
    /// Inputs a second, smoothed.
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

    /// A turn that began at `turn` had so many inputs.
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

    /// Turns last so long now that what one brings can wait for the next.
    pub(super) fn is_busy(&self) -> bool {
        self.turn() * 4 >= self.turn_max && !self.turn_max.is_zero()
    }

    /// What a turn lasts at least, now.
    pub(super) fn turn(&self) -> Duration {
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
            pace.turn()
        };
        // A quiet second is one input each fourth millisecond; whole milliseconds are what the test can say.
        assert_eq!(run(0), Duration::ZERO);
        let between = run(1_000);
        assert!(between > Duration::from_millis(1) && between < Duration::from_millis(2));
        assert_eq!(run(50_000), Duration::from_millis(8));
        assert_eq!(run(0), Duration::ZERO);
    }
}
