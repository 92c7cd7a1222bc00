//! Waiting, without a clock: how long to wait before another try, what is due, and whether to try at all. Time is handed in.

use std::collections::{BTreeMap, BTreeSet};

/// How long to wait before another try: doubling from a least to a most, with jitter so that not all come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    ms_min: u64,
    ms_max: u64,
}

impl Backoff {
    /// From `ms_min` to `ms_max`, which counts as at least `ms_min`.
    #[must_use]
    pub const fn new(ms_min: u64, ms_max: u64) -> Self {
        let ms_max = if ms_max < ms_min { ms_min } else { ms_max };
        Self { ms_min, ms_max }
    }

    /// Milliseconds before try number `tries` + 1: between half of the doubled wait and all of it, by `jitter`, any number
    /// that others do not draw at the same time.
    #[must_use]
    pub const fn ms(self, tries: u32, jitter: u64) -> u64 {
        let doublings = if tries > 16 { 16 } else { tries };
        let doubled = self.ms_min.saturating_mul(1 << doublings);
        let ms = if doubled < self.ms_max {
            doubled
        } else {
            self.ms_max
        };
        ms / 2 + jitter % (ms / 2 + 1)
    }
}

/// Deadlines by what they are for: one each, set anew at will. `T` is any kind of time.
#[derive(Clone, Debug)]
pub struct Deadlines<T, K> {
    by_key: BTreeMap<K, T>,
    order: BTreeSet<(T, K)>,
}

impl<T, K> Default for Deadlines<T, K> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<T: Copy + Ord, K: Clone + Ord> Deadlines<T, K> {
    /// Sets the deadline of `key`, or takes it away.
    pub fn set(&mut self, key: K, at: Option<T>) {
        let before = match at {
            Some(at) => self.by_key.insert(key.clone(), at),
            None => self.by_key.remove(&key),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            self.order.insert((at, key));
        }
    }

    /// The deadline of `key`.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<T> {
        self.by_key.get(key).copied()
    }

    /// The next deadline of all.
    #[must_use]
    pub fn next(&self) -> Option<T> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes one that is due, the earliest first.
    pub fn pop(&mut self, now: T) -> Option<K> {
        if self.order.first().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &(T, K)> {
        self.order.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.by_key.clear();
        self.order.clear();
    }
}

/// Whether to try what failed lately. Closed: try. Open after `failures_max` failures in a row: do not, for `open_ms`.
/// Then one try decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    failures_max: u32,
    open_ms: u64,
    failures: u32,
    /// Open until then; `None` is closed.
    open_until_ms: Option<u64>,
}

impl Breaker {
    /// Closed.
    #[must_use]
    pub const fn new(failures_max: u32, open_ms: u64) -> Self {
        Self {
            failures_max,
            open_ms,
            failures: 0,
            open_until_ms: None,
        }
    }

    /// Whether to try now. While it is open, one try is let through each `open_ms`.
    pub fn lets(&mut self, now_ms: u64) -> bool {
        match self.open_until_ms {
            None => true,
            Some(until) if now_ms < until => false,
            Some(_) => {
                self.open_until_ms = Some(now_ms.saturating_add(self.open_ms));
                true
            }
        }
    }

    /// A try did what it should; true when that closed it.
    pub fn succeeded(&mut self) -> bool {
        self.failures = 0;
        self.open_until_ms.take().is_some()
    }

    /// A try failed; true when that opened it.
    pub fn failed(&mut self, now_ms: u64) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < self.failures_max {
            return false;
        }
        let until = now_ms.saturating_add(self.open_ms);
        self.open_until_ms.replace(until).is_none()
    }

    /// Whether what it guards counts as away.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open_until_ms.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_doubles_to_its_most_and_jitters_below() {
        let backoff = Backoff::new(50, 1_000);
        for (tries, most) in [(0, 50), (1, 100), (2, 200), (5, 1_000), (60, 1_000)] {
            for jitter in [0, 7, u64::MAX] {
                let ms = backoff.ms(tries, jitter);
                assert!((most / 2..=most).contains(&ms), "{tries} {jitter}: {ms}");
            }
        }
        assert_eq!(Backoff::new(50, 1).ms(9, 25), 50);
    }

    #[test]
    fn of_one_key_the_last_deadline_counts() {
        let mut deadlines = Deadlines::default();
        deadlines.set("a", Some(5));
        deadlines.set("b", Some(3));
        deadlines.set("a", Some(2));
        assert_eq!((deadlines.next(), deadlines.len()), (Some(2), 2));
        assert_eq!(deadlines.pop(1), None);
        assert_eq!(deadlines.pop(3), Some("a"));
        deadlines.set("b", None);
        assert!(deadlines.is_empty());
        assert_eq!(deadlines.get(&"b"), None);
    }

    #[test]
    fn a_breaker_opens_lets_one_through_and_closes() {
        let mut breaker = Breaker::new(2, 100);
        assert!(breaker.lets(0));
        assert!(!breaker.failed(0));
        assert!(breaker.failed(1));
        assert!(breaker.is_open() && !breaker.lets(100));
        assert!(breaker.lets(101), "one to try with");
        assert!(!breaker.lets(102), "and no more");
        assert!(!breaker.failed(110), "it was open");
        assert!(breaker.lets(210));
        assert!(breaker.succeeded());
        assert!(!breaker.is_open() && breaker.lets(211));
    }
}
