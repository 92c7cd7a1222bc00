//! A histogram of durations that many tasks fill concurrently: 32 buckets per power of two, so values are exact to 3 %.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SUB_BITS: u32 = 5;
const SUBS: usize = 1 << SUB_BITS;
/// Durations up to 2^40 µs (twelve days); a longer one counts as that.
const POWERS: usize = 40;

/// Counts durations in microseconds.
pub(crate) struct Histogram {
    buckets: Vec<AtomicU64>,
    longest_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..SUBS * POWERS).map(|_| AtomicU64::new(0)).collect(),
            longest_us: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.longest_us.fetch_max(us, Ordering::Relaxed);
        let bucket = bucket(us).min(self.buckets.len() - 1);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
    }

    /// Number of counted durations.
    pub(crate) fn count(&self) -> u64 {
        self.buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .sum()
    }

    /// The duration that `percent` of the counted ones do not exceed; `None` when none was counted.
    pub(crate) fn percentile(&self, percent: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((count as f64) * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Ordering::Relaxed);
            if seen >= rank {
                let longest = self.longest_us.load(Ordering::Relaxed);
                return Some(Duration::from_micros(upper_us(index).min(longest)));
            }
        }
        None
    }

    /// A summary in one line.
    pub(crate) fn line(&self) -> String {
        let ms = |percent| match self.percentile(percent) {
            Some(duration) => format!("{:.2} ms", duration.as_secs_f64() * 1_000.0),
            None => "-".to_owned(),
        };
        format!(
            "p50 {}  p99 {}  max {}  ({} counted)",
            ms(50.0),
            ms(99.0),
            ms(100.0),
            self.count()
        )
    }
}

fn bucket(us: u64) -> usize {
    if us < SUBS as u64 {
        return us as usize;
    }
    let power = us.ilog2();
    let sub = (us >> (power - SUB_BITS)) as usize & (SUBS - 1);
    (power - SUB_BITS + 1) as usize * SUBS + sub
}

/// The highest value of a bucket.
fn upper_us(bucket: usize) -> u64 {
    if bucket < SUBS {
        return bucket as u64;
    }
    let shift = (bucket / SUBS - 1) as u32;
    let sub = (bucket % SUBS) as u64;
    ((SUBS as u64 + sub + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_within_three_percent_of_its_bucket() {
        for us in (0..100_000).chain([1_000_000, 123_456_789]) {
            let upper = upper_us(bucket(us));
            assert!(upper >= us, "{us} is above {upper}");
            assert!(
                upper as f64 <= us as f64 * 1.04 + 1.0,
                "{us} is far below {upper}"
            );
        }
    }

    #[test]
    fn percentiles_of_a_known_distribution() {
        let histogram = Histogram::default();
        assert_eq!(histogram.percentile(50.0), None);
        for us in 1..=1_000 {
            histogram.record(Duration::from_micros(us));
        }
        let p50 = histogram.percentile(50.0).expect("counted").as_micros();
        assert!((500..=520).contains(&p50), "{p50}");
        assert_eq!(
            histogram.percentile(100.0),
            Some(Duration::from_micros(1_000))
        );
    }
}
