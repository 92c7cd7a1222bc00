//! How a busy thread lets work come together.
//!
//! Posts, outcomes and deliveries cross a process in many tasks, each a wake-up and a packet of its own when it is
//! taken as soon as it is there. A busy thread rests before it waits for more, so that what comes meanwhile is read,
//! decided and sent in one go. A quiet one never rests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

/// Outcomes and items a second up to which each is taken as soon as it is there; a comment has one of each.
const QUIET_PER_S: u64 = 500;
/// Outcomes and items a second from which a turn has its full length.
const BUSY_PER_S: u64 = 2_000;
/// How often the rate is looked at.
const WINDOW_MS: u64 = 50;

/// The pace of a runtime's threads.
#[derive(Debug)]
pub struct Pace {
    started: Instant,
    /// Microseconds that a turn of a busy thread lasts at least.
    turn_us_max: u64,
    /// When a thread last woke, in microseconds.
    woke_us: AtomicU64,
    /// The window that is being counted, and what was counted in it.
    window: AtomicU64,
    counted: AtomicU64,
    /// Outcomes and items a second, smoothed.
    per_s: AtomicU64,
}

impl Pace {
    /// Turns last at most so long.
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

    /// Makes the threads of a runtime rest when they have nothing more to do, before they wait for sockets and timers.
    pub fn of(self: &Arc<Self>, runtime: &mut Builder) {
        let (parks, wakes) = (Arc::clone(self), Arc::clone(self));
        runtime.on_thread_park(move || {
            let rest = parks.due(parks.now_us());
            if !rest.is_zero() {
                std::thread::sleep(rest);
            }
        });
        runtime.on_thread_unpark(move || wakes.woke_us.store(wakes.now_us(), Relaxed));
    }

    /// So many outcomes or items came.
    pub fn count(&self, messages: usize) {
        self.counted.fetch_add(messages as u64, Relaxed);
    }

    /// Microseconds that a turn lasts at least, now.
    #[must_use]
    pub fn turn_us(&self) -> u64 {
        let over = self.per_s.load(Relaxed).clamp(QUIET_PER_S, BUSY_PER_S) - QUIET_PER_S;
        self.turn_us_max * over / (BUSY_PER_S - QUIET_PER_S)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// What is left of the turn.
    fn due(&self, now_us: u64) -> Duration {
        let window = now_us / 1_000 / WINDOW_MS;
        let before = self.window.swap(window, Relaxed);
        if window > before {
            // Whoever is the first of a window closes the one before; a message more or less does not matter.
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
                pace.due(now_us);
            }
            let passed_us = 1_500;
            pace.due(now_us + passed_us).as_micros()
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
