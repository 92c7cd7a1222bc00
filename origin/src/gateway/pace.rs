//! How a busy gateway gathers what it has for its PoPs.
//!
//! Outcomes and deliveries come from many tasks, each a packet of its own when it is sent at once. A busy gateway's
//! tasks all wait for the next tick of one grid, so what they have leaves together. A quiet gateway never waits.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// Outcomes and items a second up to which each goes out at once: a comment has two of them, which then come out of the
/// log together and leave in one packet. A wait of a millisecond would part them.
const QUIET_PER_S: u64 = 500;
/// Outcomes and items a second from which the grid has its full period.
const BUSY_PER_S: u64 = 2_000;
/// The longest period of the grid.
const PERIOD_MS_MAX: u64 = 8;
/// How often the rate is looked at.
const WINDOW_MS: u64 = 50;

/// The rhythm of a gateway.
#[derive(Debug)]
pub(super) struct Pace {
    started: Instant,
    /// The window that is being counted, and what was counted in it.
    window: AtomicU64,
    counted: AtomicU64,
    /// Outcomes and items a second, smoothed.
    per_s: AtomicU64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            window: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            per_s: AtomicU64::new(0),
        }
    }

    /// So many outcomes or items are there; returns when they are to go out.
    pub(super) async fn gather(&self, count: usize) {
        if let Some(tick) = self.count(count, Instant::now()) {
            tokio::time::sleep_until(tick).await;
        }
    }

    /// So many more are there, which go out with those gathered before.
    pub(super) fn note(&self, count: usize) {
        self.counted.fetch_add(count as u64, Relaxed);
    }

    fn count(&self, count: usize, now: Instant) -> Option<Instant> {
        let ms = u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        let counted = self.counted.fetch_add(count as u64, Relaxed) + count as u64;
        let window = ms / WINDOW_MS;
        let before = self.window.swap(window, Relaxed);
        if window > before {
            // Whoever is the first of a window closes the one before; a count more or less does not matter.
            self.counted.fetch_sub(counted, Relaxed);
            let per_s = counted * 1_000 / ((window - before) * WINDOW_MS);
            let smooth = u64::midpoint(self.per_s.load(Relaxed), per_s);
            self.per_s.store(smooth, Relaxed);
        }
        let over = self.per_s.load(Relaxed).clamp(QUIET_PER_S, BUSY_PER_S) - QUIET_PER_S;
        let period = (PERIOD_MS_MAX * over).div_ceil(BUSY_PER_S - QUIET_PER_S);
        if period == 0 {
            return None;
        }
        Some(self.started + Duration::from_millis((ms / period + 1) * period))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_gateway_never_waits_and_all_tasks_of_a_busy_one_wait_for_the_same_tick() {
        let pace = Pace::new();
        let at = |ms| pace.started + Duration::from_millis(ms);
        for ms in (0..1_000).step_by(10) {
            assert_eq!(pace.count(1, at(ms)), None);
        }
        for ms in 1_000..2_000 {
            pace.count(5, at(ms));
        }
        assert_eq!(pace.count(1, at(2_001)), Some(at(2_008)));
        assert_eq!(pace.count(1, at(2_003)), Some(at(2_008)));
        for ms in (2_010..4_000).step_by(10) {
            pace.count(1, at(ms));
        }
        assert_eq!(pace.count(1, at(4_001)), None);
    }
}
