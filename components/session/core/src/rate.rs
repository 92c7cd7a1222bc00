//! Token buckets and rate meters, in a word or three each.

use serde::{Deserialize, Serialize};

/// A token bucket's size and speed. Its state is one number: the time (in microseconds) at which the bucket is
/// full again (the generic cell rate algorithm); 0 is a full bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Microseconds until one token comes back.
    every_us: u64,
    /// Tokens it holds.
    burst: u64,
}

impl Bucket {
    /// `count` tokens come back in `per_ms`; `burst` may be taken at once.
    pub(crate) fn new(count: u64, per_ms: u64, burst: u64) -> Self {
        Self {
            // A limit of 0 lets nothing through: a year a token.
            every_us: match count {
                0 => 31_536_000_000_000,
                count => per_ms.saturating_mul(1_000) / count,
            },
            burst: if count == 0 { 0 } else { burst.max(1) },
        }
    }

    /// Whether `cost` tokens are there; else the milliseconds until they are.
    pub(crate) fn check(self, full_us: u64, now_ms: u64, cost: u64) -> Result<u64, u64> {
        let now_us = now_ms.saturating_mul(1_000);
        let after = full_us
            .max(now_us)
            .saturating_add(self.every_us.saturating_mul(cost));
        let limit = now_us.saturating_add(self.every_us.saturating_mul(self.burst));
        if after > limit {
            Err((after - limit).div_ceil(1_000).max(1))
        } else {
            Ok(after)
        }
    }
}

/// Events a second, over the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Meter {
    second: u64,
    current: u64,
    previous: u64,
}

impl Meter {
    fn turn(&mut self, now_ms: u64) {
        let second = now_ms / 1_000;
        if second > self.second {
            self.previous = if second == self.second + 1 {
                self.current
            } else {
                0
            };
            self.current = 0;
            self.second = second;
        }
    }

    /// Counts `n` events.
    pub(crate) fn add(&mut self, now_ms: u64, n: u64) {
        self.turn(now_ms);
        self.current = self.current.saturating_add(n);
    }

    /// The rate: this second's events and the share of the last one's that is less than a second old.
    pub(crate) fn per_s(&mut self, now_ms: u64) -> u64 {
        self.turn(now_ms);
        self.current
            .saturating_add(self.previous.saturating_mul(1_000 - now_ms % 1_000) / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let bucket = Bucket::new(30, 60_000, 30);
        let mut full = 0;
        for _ in 0..30 {
            full = bucket.check(full, 1_000_000, 1).expect("within the burst");
        }
        assert_eq!(bucket.check(full, 1_000_000, 1), Err(2_000));
        assert_eq!(bucket.check(full, 1_001_999, 1), Err(1));
        assert!(bucket.check(full, 1_002_000, 1).is_ok());
    }

    #[test]
    fn a_limit_of_nothing_lets_nothing_through() {
        assert!(Bucket::new(0, 60_000, 0).check(0, 5, 1).is_err());
    }

    #[test]
    fn a_meter_forgets_after_a_second() {
        let mut meter = Meter::default();
        meter.add(10_000, 100);
        assert_eq!(meter.per_s(10_500), 100);
        assert_eq!(meter.per_s(11_500), 50);
        assert_eq!(meter.per_s(13_000), 0);
    }
}
