//! Small statistics: medians, spreads and a histogram of latencies.

/// Nanoseconds below which the histogram is exact.
const LINEAR_NS: u64 = 64;
/// Sub-buckets per power of two: a value is known to 1.6 %.
const SUB: u64 = 64;

/// A histogram of nanoseconds with logarithmic buckets of 1.6 %.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; (64 * SUB) as usize],
            count: 0,
            max: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, ns: u64) {
        let index = Self::index(ns);
        self.buckets[index] += 1;
        self.count += 1;
        self.max = self.max.max(ns);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The value below which a share `q` of all lies, in milliseconds; 0 when empty.
    pub(crate) fn ms(&self, q: f64) -> f64 {
        self.quantile(q) as f64 / 1e6
    }

    fn quantile(&self, q: f64) -> u64 {
        let rank = ((self.count as f64) * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= rank && *bucket > 0 {
                return Self::value(index as u64).min(self.max);
            }
        }
        self.max
    }

    fn index(ns: u64) -> usize {
        if ns < LINEAR_NS {
            return ns as usize;
        }
        let power = u64::from(63 - ns.leading_zeros());
        let shift = power - 6;
        ((power - 5) * SUB + ((ns >> shift) - SUB)) as usize
    }

    fn value(index: u64) -> u64 {
        if index < LINEAR_NS {
            return index;
        }
        let power = index / SUB + 5;
        (SUB + index % SUB) << (power - 6)
    }
}

/// A median with the smallest and the largest of what it stands for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of some values; all zero when there are none.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Self {
            median,
            min: *min,
            max: *max,
        }
    }

    /// Of the ratios of two series, round by round.
    pub(crate) fn of_ratios(ours: &[f64], theirs: &[f64]) -> Self {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
        Self::of(&ratios)
    }

    /// The median with its ends.
    pub(crate) fn words(&self, digits: usize) -> String {
        let Self { median, min, max } = self;
        format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_known_to_two_percent() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000_u64 {
            histogram.add(value * 100);
        }
        for (q, exact) in [(0.5, 5_000_000.0), (0.99, 9_900_000.0), (1.0, 10_000_000.0)] {
            let seen = histogram.quantile(q) as f64;
            assert!((seen - exact).abs() / exact < 0.02, "{q}: {seen}");
        }
        assert_eq!(histogram.count(), 100_000);
    }

    #[test]
    fn small_and_huge_values_have_a_bucket() {
        let mut histogram = Histogram::default();
        histogram.add(0);
        histogram.add(u64::MAX / 2);
        assert_eq!(histogram.quantile(0.5), 0);
        assert!(histogram.quantile(1.0) > u64::MAX / 4);
    }

    #[test]
    fn spread_of_ratios_goes_round_by_round() {
        let spread = Spread::of_ratios(&[2.0, 6.0, 3.0], &[1.0, 2.0, 3.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
    }
}
