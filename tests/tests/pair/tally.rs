//! What happened in a run: a simulation in which a fault never happens shows nothing about it.

use std::collections::BTreeMap;

/// All that is to happen within a thousand seeds.
const ALL: [&str; 28] = [
    "connections",
    "connections broken",
    "connections to the next gateway",
    "events delivered",
    "events in two logs",
    "events to the next region's log",
    "gaps told",
    "gateways restarted",
    "holes read from the log",
    "holes seen by PoPs",
    "lags of slow lanes",
    "lanes of their own",
    "lines slowed",
    "live events late",
    "live events lost",
    "live events repeated",
    "logs away",
    "logs made anew",
    "logs that take events again",
    "logs that take no events",
    "logs truncated",
    "losses at the end",
    "PoPs restarted",
    "posts sent again",
    "posts unconfirmed",
    "replays answered",
    "shards restarted",
    "states given",
];

/// How often each happened, by its name in [`ALL`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str, more: u64) {
        debug_assert!(ALL.contains(&what), "{what}");
        *self.0.entry(what).or_default() += more;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            self.count(what, *count);
        }
    }

    /// What did not happen.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let happened = |what: &&str| self.0.get(what).is_some_and(|count| *count > 0);
        ALL.into_iter().filter(|what| !happened(what)).collect()
    }
}
