//! Running totals of one stream: reactions summed over regions, viewers summed over PoPs and gateways.
//!
//! Sans-IO; time is milliseconds handed in.

use std::collections::{BTreeMap, BTreeSet};

use chorus_protocol::backhaul::VIEWING_MS;
use chorus_protocol::server::Reactions;
use chorus_protocol::{PopId, Region};

/// From one update to the next; the first after a quiet time goes out at once.
const UPDATE_MS: u64 = 250;
/// An update may be lost: the last one is said again after this long.
const REPEAT_MS: u64 = 1_000;
/// A count not repeated for this long is gone.
const EXPIRY_MS: u64 = 3 * VIEWING_MS;
/// Reaction types of one stream; more are not counted.
const TYPES_MAX: usize = 256;

/// Reaction totals.
#[derive(Debug, Default)]
pub(super) struct Totals {
    by_region: BTreeMap<(String, Region), u64>,
    changed: BTreeSet<String>,
    to_repeat: BTreeSet<String>,
    quiet_until_ms: u64,
    repeat_at_ms: Option<u64>,
}

impl Totals {
    /// Takes a running total of one region.
    pub(super) fn note(&mut self, region: Region, kind: String, total: u64) {
        let key = (kind, region);
        let known = self.by_region.get(&key).copied();
        // Counters only grow; an older value came late.
        if known.is_some_and(|known| known >= total)
            || (known.is_none() && self.by_region.len() >= TYPES_MAX)
        {
            return;
        }
        self.changed.insert(key.0.clone());
        self.by_region.insert(key, total);
    }

    /// All totals.
    pub(super) fn sums(&self) -> Reactions {
        let mut sums = Reactions::new();
        for ((kind, _), total) in &self.by_region {
            let sum = sums.entry(kind.clone()).or_default();
            *sum = sum.saturating_add(*total);
        }
        sums
    }

    /// Forgets that anything changed: what was read at the start is in every state.
    pub(super) fn settle(&mut self) {
        self.changed.clear();
    }

    /// When [`Totals::take`] has something to say.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let update = (!self.changed.is_empty()).then_some(self.quiet_until_ms);
        [update, self.repeat_at_ms].into_iter().flatten().min()
    }

    /// What PoPs should be told now.
    pub(super) fn take(&mut self, now_ms: u64) -> Option<Reactions> {
        let mut kinds = BTreeSet::new();
        if !self.changed.is_empty() && self.quiet_until_ms <= now_ms {
            kinds.append(&mut self.changed);
            self.to_repeat.extend(kinds.iter().cloned());
            self.quiet_until_ms = now_ms + UPDATE_MS;
            self.repeat_at_ms = Some(now_ms + REPEAT_MS);
        } else if self.repeat_at_ms.is_some_and(|at| at <= now_ms) {
            kinds.append(&mut self.to_repeat);
            self.repeat_at_ms = None;
        }
        if kinds.is_empty() {
            return None;
        }
        let mut sums = self.sums();
        sums.retain(|kind, _| kinds.contains(kind));
        Some(sums)
    }
}

/// One process of a PoP.
pub type PopProcess = (PopId, u64);

#[derive(Clone, Copy, Debug)]
struct Count {
    viewers: u64,
    until_ms: u64,
}

/// Viewer counts.
#[derive(Debug, Default)]
pub(super) struct Viewers {
    here: BTreeMap<PopProcess, Count>,
    elsewhere: BTreeMap<String, Count>,
    told: Option<u64>,
    quiet_until_ms: u64,
    repeat_at_ms: Option<u64>,
    reported: Option<u64>,
    report_at_ms: u64,
}

impl Viewers {
    /// A PoP of this gateway counts so many.
    pub(super) fn here(&mut self, pop: PopProcess, viewers: u64, now_ms: u64) {
        let until_ms = now_ms + EXPIRY_MS;
        self.here.insert(pop, Count { viewers, until_ms });
    }

    /// A PoP is gone.
    pub(super) fn gone(&mut self, pop: &PopProcess) {
        self.here.remove(pop);
    }

    /// Another gateway counts so many.
    pub(super) fn elsewhere(&mut self, gateway: String, viewers: u64, now_ms: u64) {
        let until_ms = now_ms + EXPIRY_MS;
        self.elsewhere.insert(gateway, Count { viewers, until_ms });
    }

    /// Viewers at all PoPs.
    pub(super) fn sum(&self) -> u64 {
        let all = self.here.values().chain(self.elsewhere.values());
        all.fold(0, |sum, count| sum.saturating_add(count.viewers))
    }

    fn sum_here(&self) -> u64 {
        self.here
            .values()
            .fold(0, |sum, count| sum.saturating_add(count.viewers))
    }

    /// Drops counts that were not repeated.
    pub(super) fn expire(&mut self, now_ms: u64) {
        self.here.retain(|_, count| count.until_ms > now_ms);
        self.elsewhere.retain(|_, count| count.until_ms > now_ms);
    }

    /// When one of the others has something to do.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let expiry = self.here.values().chain(self.elsewhere.values());
        let expiry = expiry.map(|count| count.until_ms).min();
        let changed = self.told != Some(self.sum());
        let tell = changed.then_some(self.quiet_until_ms);
        let report = match self.reported {
            reported if reported.unwrap_or(0) != self.sum_here() => Some(self.quiet_until_ms),
            Some(1..) => Some(self.report_at_ms),
            Some(0) | None => None,
        };
        [expiry, tell, self.repeat_at_ms, report]
            .into_iter()
            .flatten()
            .min()
    }

    /// What the other gateways should be told now: this gateway's sum. Called before [`Viewers::take`].
    pub(super) fn report(&mut self, now_ms: u64) -> Option<u64> {
        let sum = self.sum_here();
        let changed = self.reported.unwrap_or(0) != sum && self.quiet_until_ms <= now_ms;
        let again = sum > 0 && self.reported == Some(sum) && self.report_at_ms <= now_ms;
        if !changed && !again {
            return None;
        }
        self.reported = Some(sum);
        self.report_at_ms = now_ms + VIEWING_MS;
        Some(sum)
    }

    /// What PoPs should be told now: the sum over all.
    pub(super) fn take(&mut self, now_ms: u64) -> Option<u64> {
        let sum = self.sum();
        if self.told != Some(sum) && self.quiet_until_ms <= now_ms {
            self.told = Some(sum);
            self.quiet_until_ms = now_ms + UPDATE_MS;
            self.repeat_at_ms = Some(now_ms + REPEAT_MS);
            return Some(sum);
        }
        if self.repeat_at_ms.is_some_and(|at| at <= now_ms) {
            self.repeat_at_ms = None;
            return Some(sum);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        name.parse().expect("a region")
    }

    #[test]
    fn totals_are_summed_over_regions_coalesced_and_said_twice() {
        let mut totals = Totals::default();
        totals.note(region("eu"), "like".to_owned(), 3);
        totals.note(region("us"), "like".to_owned(), 4);
        assert_eq!(
            totals.take(0),
            Some(Reactions::from([("like".to_owned(), 7)]))
        );
        totals.note(region("us"), "like".to_owned(), 2);
        assert_eq!(totals.take(10), None, "an older value changes nothing");
        totals.note(region("us"), "wow".to_owned(), 1);
        assert_eq!(totals.take(100), None, "too soon");
        assert_eq!(totals.due_ms(), Some(UPDATE_MS));
        assert_eq!(
            totals.take(250),
            Some(Reactions::from([("wow".to_owned(), 1)]))
        );
        let again = totals.take(1_250).expect("said again");
        assert_eq!(again.len(), 2);
        assert_eq!(totals.due_ms(), None);
    }

    #[test]
    fn viewers_are_summed_and_forgotten() {
        let mut viewers = Viewers::default();
        let pop: PopProcess = ("pop1".parse().expect("a pop"), 7);
        viewers.here(pop.clone(), 5, 0);
        viewers.elsewhere("eu.other".to_owned(), 2, 0);
        assert_eq!(viewers.report(0), Some(5));
        assert_eq!(viewers.take(0), Some(7));
        assert_eq!(viewers.report(100), None);
        assert_eq!(
            viewers.report(VIEWING_MS),
            Some(5),
            "repeated for the others"
        );
        viewers.expire(EXPIRY_MS);
        assert_eq!(viewers.report(EXPIRY_MS), Some(0));
        assert_eq!(viewers.take(EXPIRY_MS), Some(0));
        viewers.here(pop.clone(), 1, EXPIRY_MS);
        viewers.gone(&pop);
        assert_eq!(viewers.sum(), 0);
    }
}
