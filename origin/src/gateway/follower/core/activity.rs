//! Whether a stream has so many events that its deliveries need a lane of their own.

/// Events within a second beyond which a stream is busy.
const BUSY_PER_S: u64 = 100;
/// Events of a second with which a busy stream stays busy.
const QUIET_PER_S_MIN: u64 = 25;
/// How long a stream is not busy before it goes back to the quiet lane.
const CALM_MS: u64 = 10_000;

/// How many events a stream has.
#[derive(Debug, Default)]
pub(super) struct Activity {
    second: u64,
    events: u64,
    busy: bool,
    busy_at_ms: u64,
    look_at_ms: u64,
}

impl Activity {
    /// So many more.
    pub(super) fn count(&mut self, events: usize, now_ms: u64) {
        let second = now_ms / 1_000;
        if second > self.second {
            self.busy &= second == self.second + 1 && self.events >= QUIET_PER_S_MIN;
            self.second = second;
            self.events = 0;
        }
        self.events += events as u64;
        self.busy |= self.events > BUSY_PER_S;
        if self.busy {
            self.busy_at_ms = now_ms;
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// The quiet lane has no room for it: not calm.
    pub(super) fn crowded(&mut self, now_ms: u64) {
        self.busy_at_ms = now_ms;
    }

    /// Whether it was not busy for a while. Looks at most once a while, so that an event sets no timer anew.
    pub(super) fn is_calm(&mut self, now_ms: u64) -> bool {
        if now_ms < self.look_at_ms {
            return false;
        }
        let calm_at_ms = self.busy_at_ms + CALM_MS;
        if now_ms < calm_at_ms {
            self.look_at_ms = calm_at_ms;
            return false;
        }
        self.busy = false;
        true
    }

    /// When [`Activity::is_calm`] looks again.
    pub(super) fn look_at_ms(&self) -> u64 {
        self.look_at_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_gets_busy_at_once_and_quiet_after_a_quiet_second() {
        let mut activity = Activity::default();
        let mut busy = |events, now_ms| {
            activity.count(events, now_ms);
            activity.is_busy()
        };
        assert!(!busy(60, 100));
        assert!(busy(60, 900), "more than a hundred within a second");
        assert!(busy(30, 1_500));
        assert!(busy(1, 2_500), "the second before had thirty");
        assert!(!busy(1, 3_500));
        assert!(!activity.is_calm(3_500));
        assert_eq!(activity.look_at_ms(), 2_500 + CALM_MS);
        assert!(activity.is_calm(2_500 + CALM_MS));
    }
}
