//! The PoP's clock: this machine's, corrected where it is certainly wrong by the gateway's.
//!
//! Comment ids are made of it, and a gateway refuses an id that is too far ahead of its own clock. The machine's clock is
//! read once, at the start; from then on only time that never jumps is added, so that a step of the machine's clock
//! changes nothing here.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use chorus_protocol::Millis;

/// Clocks that differ by less are left alone: whoever keeps them together does it better than a round trip can.
const TOLERATED_MS: i64 = 500;

/// A process's clock.
#[derive(Debug)]
pub struct Clock {
    began: Instant,
    /// The machine's clock at `began`, in milliseconds since 1970.
    wall_ms: i64,
    /// By how much the machine's clock is ahead of the gateway's, where that is too much.
    ahead_ms: AtomicI64,
}

impl Default for Clock {
    fn default() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self::at(Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Clock {
    fn at(wall: Millis) -> Self {
        Self {
            began: Instant::now(),
            wall_ms: signed(wall),
            ahead_ms: AtomicI64::new(0),
        }
    }

    /// The time now. Goes back only by a correction.
    pub fn now(&self) -> Millis {
        let since = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let wall = self.wall_ms.saturating_add(since);
        back(Millis(u64::try_from(wall).unwrap_or(0)), self.ahead_ms())
    }

    /// By how much the machine's clock is corrected, in milliseconds; above 0 it is ahead.
    pub fn ahead_ms(&self) -> i64 {
        self.ahead_ms.load(Relaxed)
    }

    /// Sets the clock back by so many milliseconds, see [`ahead`].
    pub(crate) fn correct(&self, ahead_ms: i64) {
        let all = self.ahead_ms.fetch_add(ahead_ms, Relaxed) + ahead_ms;
        tracing::warn!(
            ahead_ms = all,
            "this machine's clock and the gateway's differ; the gateway's counts"
        );
    }
}

/// By how many milliseconds a clock is ahead of another one that said `theirs` after `sent` and before `heard` of the
/// first: 0 where that may be little.
pub(crate) fn ahead(sent: Millis, theirs: Millis, heard: Millis) -> i64 {
    let least = signed(sent) - signed(theirs);
    let most = signed(heard) - signed(theirs);
    if least > TOLERATED_MS || most < -TOLERATED_MS {
        least.midpoint(most)
    } else {
        0
    }
}

/// A time set back.
pub(crate) fn back(at: Millis, ahead_ms: i64) -> Millis {
    Millis(u64::try_from(signed(at).saturating_sub(ahead_ms)).unwrap_or(0))
}

fn signed(at: Millis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_wrong_is_corrected() {
        let at = |ms: i64| Millis(u64::try_from(1_000_000 + ms).expect("positive"));
        // A slow answer may have been read at any time between.
        assert_eq!(ahead(at(0), at(-400), at(0)), 0);
        assert_eq!(ahead(at(0), at(3_000), at(3_000)), 0);
        assert_eq!(ahead(at(0), at(-10_000), at(0)), 10_000);
        assert_eq!(ahead(at(0), at(-10_000), at(200)), 10_100);
        assert_eq!(ahead(at(0), at(10_100), at(200)), -10_000);
    }

    #[test]
    fn a_corrected_clock_shows_the_gateways_time() {
        for wrong_ms in [10_000, -10_000] {
            let theirs = Clock::at(Millis(1_800_000_000_000));
            let mine = Clock::at(Millis(
                u64::try_from(1_800_000_000_000 + wrong_ms).expect("positive"),
            ));
            let sent = mine.now();
            mine.correct(ahead(sent, theirs.now(), mine.now()));
            let differ = signed(mine.now()) - signed(theirs.now());
            assert!(differ.abs() < TOLERATED_MS, "{differ}");
            assert!((mine.ahead_ms() - wrong_ms).abs() < TOLERATED_MS);
        }
    }
}
