//! The pace of a runtime's threads: a busy thread sleeps so that messages are handled as a batch.
//!
//! Publications, outcomes and deliveries pass through many tasks. If each is handled as soon as it arrives, each costs a
//! wake-up and a packet. So a busy thread sleeps for the remaining turn before it polls sockets and timers; messages that
//! arrive meanwhile are read, handled and sent together. A quiet thread never sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

/// Outcomes and items per second up to which a thread never sleeps; a comment makes one of each.
const QUIET_PER_S: u64 = 500;
/// Outcomes and items per second from which a turn has its full minimum length.
const BUSY_PER_S: u64 = 2_000;
/// Milliseconds over which the rate is measured.
const WINDOW_MS: u64 = 50;

/// Measures the messages of a runtime and makes its threads sleep when busy.
#[derive(Debug)]
pub struct Pace {
    started: Instant,
    /// The minimum length of a turn under full load, in microseconds.
    turn_us_max: u64,
    /// When a thread last woke, in microseconds since `started`.
    woke_us: AtomicU64,
    /// The number of the current window, and the messages counted in it.
    window: AtomicU64,
    counted: AtomicU64,
    /// Outcomes and items per second, smoothed.
    per_s: AtomicU64,
}

impl Pace {
    /// A pace whose turns have at most this minimum length.
    #[must_use]
    pub fn new(turn_max: Duration) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            turn_us_max: u64::try_from(turn_max.as_micros()).unwrap_or(u64::MAX),
            woke_us: AtomicU64::new(0),
            window: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            per_s: AtomicU64::new(0),
        })
    }

    /// Makes the threads of a runtime sleep for the remaining turn before they wait for sockets and timers.
    pub fn of(self: &Arc<Self>, runtime: &mut Builder) {
        let (parks, wakes) = (Arc::clone(self), Arc::clone(self));
        runtime.on_thread_park(move || {
            let pause = parks.remaining(parks.now_us());
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        });
        runtime.on_thread_unpark(move || wakes.woke_us.store(wakes.now_us(), Relaxed));
    }

    /// Counts outcomes or items.
    pub fn count(&self, messages: usize) {
        self.counted.fetch_add(messages as u64, Relaxed);
    }

    /// The minimum length of a turn now, in microseconds: zero when quiet, the full one when busy, linear between.
    #[must_use]
    pub fn turn_us(&self) -> u64 {
        let over = self.per_s.load(Relaxed).clamp(QUIET_PER_S, BUSY_PER_S) - QUIET_PER_S;
        self.turn_us_max * over / (BUSY_PER_S - QUIET_PER_S)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The time remaining of the turn.
    fn remaining(&self, now_us: u64) -> Duration {
        let window = now_us / 1_000 / WINDOW_MS;
        let before = self.window.swap(window, Relaxed);
        if window > before {
            // The first thread of a window closes the window before; a miscount of a few messages does not matter.
            let counted = self.counted.swap(0, Relaxed);
            let per_s = counted * 1_000 / ((window - before) * WINDOW_MS);
            let smooth = u64::midpoint(self.per_s.load(Relaxed), per_s);
            self.per_s.store(smooth, Relaxed);
        }
        let passed_us = now_us.saturating_sub(self.woke_us.load(Relaxed));
        Duration::from_micros(self.turn_us().saturating_sub(passed_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_thread_never_rests_and_a_busy_one_for_what_is_left_of_its_turn() {
        let pace = Pace::new(Duration::from_millis(8));
        let mut now_us = 0;
        let mut run = |messages: usize| {
            for _ in 0..1_000 {
                now_us += 1_000;
                pace.count(messages);
                pace.woke_us.store(now_us, Relaxed);
                pace.remaining(now_us);
            }
            let passed_us = 1_500;
            pace.remaining(now_us + passed_us).as_micros()
        };
        assert_eq!(run(0), 0);
        let between = run(1);
        assert!(between > 0 && between < 6_500, "{between}");
        assert_eq!(run(5), 6_500);
        assert_eq!(run(0), 0);
    }

    #[test]
    fn a_runtime_that_rests_still_does_everything() {
        let pace = Pace::new(Duration::from_millis(8));
        let mut runtime = Builder::new_current_thread();
        pace.of(&mut runtime);
        let runtime = runtime.enable_all().build().expect("a runtime");
        let mut rested = false;
        let sum: u64 = runtime.block_on(async {
            let mut sum = 0;
            for number in 0..200 {
                pace.count(10_000);
                tokio::time::sleep(Duration::from_millis(1)).await;
                sum += tokio::spawn(async move { number }).await.expect("runs");
                rested |= pace.per_s.load(Relaxed) >= BUSY_PER_S;
            }
            sum
        });
        assert_eq!(sum, 199 * 200 / 2);
        assert!(rested, "it was busy enough to rest");
    }
}
