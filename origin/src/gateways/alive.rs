//! Who is alive now: leases in, by this process's clock, and the gateways and PoPs of those that are not over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chorus_protocol::PopId;
use chorus_protocol::presence::{GatewayLease, LEASE_MS, Pop};

use crate::log::GatewayWord;

/// Gateways known at once; the leases of more are dropped (metric `gateway_leases_dropped`).
const GATEWAYS_MAX: usize = 4_096;

/// A lease that cannot be read, or is of a gateway too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dropped;

#[derive(Debug)]
struct Held {
    seq: u64,
    until: Instant,
    lease: GatewayLease,
}

#[derive(Debug, Default)]
pub(super) struct Alive {
    held: BTreeMap<String, Held>,
}

impl Alive {
    /// Takes a lease in, or its end. One that was overtaken changes nothing.
    pub(super) fn take(&mut self, now: Instant, word: &GatewayWord) -> Result<(), Dropped> {
        self.held.retain(|_, held| held.until > now);
        let before = self.held.get(&word.gateway);
        if word.body.is_empty() {
            if before.is_some_and(|held| held.seq < word.seq) {
                self.held.remove(&word.gateway);
            }
            return Ok(());
        }
        let lease: GatewayLease = rmp_serde::from_slice(&word.body).map_err(|_| Dropped)?;
        // By its own count: sequences begin anew with the log.
        if before.is_some_and(|held| held.lease.beat >= lease.beat) {
            return Ok(());
        }
        if before.is_none() && self.held.len() >= GATEWAYS_MAX {
            return Err(Dropped);
        }
        let held = Held {
            seq: word.seq,
            until: now + Duration::from_millis(LEASE_MS),
            lease,
        };
        self.held.insert(word.gateway.clone(), held);
        Ok(())
    }

    fn now(&self, now: Instant) -> impl Iterator<Item = (&String, &Held)> {
        self.held.iter().filter(move |(_, held)| held.until > now)
    }

    /// The gateways whose leases are not over.
    pub(super) fn names(&self, now: Instant) -> impl Iterator<Item = &str> {
        self.now(now).map(|(name, _)| name.as_str())
    }

    /// Their PoPs, by region and name. One that moved is where it was welcomed last.
    pub(super) fn pops(&self, now: Instant) -> Vec<Pop> {
        let mut found: BTreeMap<&PopId, &Pop> = BTreeMap::new();
        for pop in self.now(now).flat_map(|(_, held)| &held.lease.pops) {
            let known = found.entry(&pop.pop).or_insert(pop);
            if known.since_ms < pop.since_ms {
                *known = pop;
            }
        }
        let mut pops: Vec<Pop> = found.into_values().cloned().collect();
        pops.sort_by(|a, b| (&a.region, &a.pop).cmp(&(&b.region, &b.pop)));
        pops
    }
}

#[cfg(test)]
mod tests {
    use chorus_protocol::Millis;
    use chorus_protocol::presence::PopState;

    use super::*;

    fn pop(name: &str, region: &str, since: u64) -> Pop {
        Pop {
            pop: name.parse().expect("a PoP"),
            region: region.parse().expect("a region"),
            url: None,
            connections: since,
            state: PopState::Serving,
            since_ms: Millis(since),
        }
    }

    fn word(gateway: &str, seq: u64, beat: u64, pops: &[Pop]) -> GatewayWord {
        let lease = GatewayLease {
            beat,
            pops: pops.to_vec(),
        };
        GatewayWord {
            gateway: gateway.to_owned(),
            seq,
            body: rmp_serde::to_vec_named(&lease).expect("writes").into(),
        }
    }

    fn end(gateway: &str, seq: u64) -> GatewayWord {
        GatewayWord {
            body: bytes::Bytes::new(),
            ..word(gateway, seq, 0, &[])
        }
    }

    fn names(alive: &Alive, now: Instant) -> Vec<&str> {
        alive.names(now).collect()
    }

    #[test]
    fn a_gateway_is_alive_until_its_lease_is_over_or_given_back() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut alive = Alive::default();
        assert_eq!(alive.take(start, &word("eu.a", 1, 1, &[])), Ok(()));
        assert_eq!(alive.take(start, &word("us.b", 1, 1, &[])), Ok(()));
        assert_eq!(alive.take(at(1_000), &word("eu.a", 2, 2, &[])), Ok(()));
        assert_eq!(names(&alive, at(2_999)), ["eu.a", "us.b"]);
        assert_eq!(names(&alive, at(3_000)), ["eu.a"]);
        // Its first lease ended before the second was written, and the word of it was late.
        assert_eq!(alive.take(at(3_000), &end("eu.a", 1)), Ok(()));
        assert_eq!(names(&alive, at(3_000)), ["eu.a"]);
        assert_eq!(alive.take(at(3_000), &end("eu.a", 3)), Ok(()));
        assert!(names(&alive, at(3_000)).is_empty());
    }

    #[test]
    fn a_lease_that_was_overtaken_changes_nothing_and_a_log_made_anew_does_not_matter() {
        let now = Instant::now();
        let mut alive = Alive::default();
        let new = word("eu.a", 9, 9, &[pop("p", "eu", 2)]);
        assert_eq!(alive.take(now, &new), Ok(()));
        assert_eq!(alive.take(now, &word("eu.a", 8, 8, &[])), Ok(()));
        assert_eq!(alive.pops(now).len(), 1);
        assert_eq!(alive.take(now, &word("eu.a", 1, 10, &[])), Ok(()));
        assert!(alive.pops(now).is_empty());
        let broken = GatewayWord {
            body: bytes::Bytes::from_static(b"\xc1"),
            ..word("eu.b", 1, 1, &[])
        };
        assert_eq!(alive.take(now, &broken), Err(Dropped));
    }

    #[test]
    fn a_pop_is_listed_once_where_it_is_now_by_region_and_name() {
        let now = Instant::now();
        let mut alive = Alive::default();
        let [a, b, moved] = [pop("b", "eu", 1), pop("a", "us", 1), pop("c", "ap", 5)];
        let gone = pop("c", "ap", 4);
        for lease in [
            word("eu.x", 1, 1, &[moved.clone(), a.clone()]),
            word("us.y", 1, 1, &[b.clone(), gone]),
        ] {
            assert_eq!(alive.take(now, &lease), Ok(()));
        }
        assert_eq!(alive.pops(now), [moved, a, b]);
    }
}
