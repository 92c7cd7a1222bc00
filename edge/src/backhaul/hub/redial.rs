//! When to dial a gateway again.

use std::time::{Duration, Instant};

use chorus_protocol::timing::Backoff;

/// A connection that held this long is followed by an attempt without a wait.
const STEADY: Duration = Duration::from_secs(2);
const RECONNECT_MS_MIN: u64 = 25;

/// Counts what failed in a row.
#[derive(Debug)]
pub struct Redial {
    backoff: Backoff,
    failures: u32,
    since: Option<Instant>,
}

impl Redial {
    /// The longest wait is `reconnect_ms_max`.
    #[must_use]
    pub fn new(reconnect_ms_max: u64) -> Self {
        Self {
            backoff: Backoff::new(RECONNECT_MS_MIN, reconnect_ms_max),
            failures: 0,
            since: None,
        }
    }

    /// Connected.
    pub fn up(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// The connection is gone: how long to wait before dialling.
    pub fn lost(&mut self, now: Instant, jitter: u64) -> Duration {
        let steady = self.since.take().is_some_and(|since| now - since >= STEADY);
        if steady {
            self.failures = 0;
            return Duration::ZERO;
        }
        self.failed(jitter)
    }

    /// No gateway was reached: how long to wait before dialling again.
    pub fn failed(&mut self, jitter: u64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(self.backoff.ms(self.failures, jitter))
    }

    /// Attempts in a row that came to nothing.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}
