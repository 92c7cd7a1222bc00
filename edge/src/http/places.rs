//! The places of HTTP connections, in all and of each address.
//!
//! A newcomer is never made to wait, and refused only when every connection that could make room is at work for the
//! gateway: else it takes the place of one that waits for its peer. So half requests, however many, hold up only half
//! requests.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::metrics::{HttpMetrics, count};

/// What a connection waits for; the first gives its place first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waits {
    /// A further request, or the peer's end.
    Idle,
    /// Its first request, or the rest of one.
    Partial,
    /// Its peer, which takes an answer slowly.
    Answering,
}

/// When it began to wait: by kind, then by time.
type Turn = (Waits, u64);

/// Whose a connection is: an IPv4 address, or the /64 of an IPv6 address, which is what one subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Owner {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let mut net = [0; 8];
                net.copy_from_slice(&address.octets()[..8]);
                Self::V6(net)
            }
        }
    }
}

#[derive(Debug, Default)]
struct Owned {
    open: usize,
    waiting: BTreeMap<Turn, u64>,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    turn: Option<Turn>,
    evicted: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Entry>,
    owners: HashMap<Owner, Owned>,
    waiting: BTreeMap<Turn, u64>,
}

impl Table {
    fn remove(&mut self, id: u64) -> Option<Entry> {
        self.set_turn(id, None);
        let entry = self.open.remove(&id)?;
        if let Some(owned) = self.owners.get_mut(&entry.owner) {
            owned.open -= 1;
            if owned.open == 0 {
                self.owners.remove(&entry.owner);
            }
        }
        Some(entry)
    }

    fn set_turn(&mut self, id: u64, waits: Option<Waits>) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        let owned = self.owners.entry(entry.owner).or_default();
        if let Some(turn) = entry.turn.take() {
            self.waiting.remove(&turn);
            owned.waiting.remove(&turn);
        }
        if let Some(waits) = waits {
            self.next += 1;
            let turn = (waits, self.next);
            entry.turn = Some(turn);
            self.waiting.insert(turn, id);
            owned.waiting.insert(turn, id);
        }
    }

    fn evict(&mut self, id: Option<u64>) -> bool {
        let Some(entry) = id.and_then(|id| self.remove(id)) else {
            return false;
        };
        entry.evicted.notify_one();
        true
    }
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    all_max: usize,
    address_max: usize,
    metrics: Arc<HttpMetrics>,
    table: Mutex<Table>,
}

impl Places {
    pub(super) fn new(all_max: usize, address_max: usize, metrics: Arc<HttpMetrics>) -> Arc<Self> {
        Arc::new(Self {
            all_max,
            address_max,
            metrics,
            table: Mutex::default(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics halfway; if it did, a place would be lost and no more.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, another's if need be; `None` when all that could make room are at work.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let owner = Owner::of(address);
        let mut table = self.table();
        let of_owner = table.owners.get(&owner);
        let mut longest = None;
        if of_owner.is_some_and(|owned| owned.open >= self.address_max) {
            longest = Some(of_owner.and_then(|owned| owned.waiting.values().next().copied()));
        } else if table.open.len() >= self.all_max {
            longest = Some(table.waiting.values().next().copied());
        }
        if let Some(longest) = longest {
            if !table.evict(longest) {
                count(&self.metrics.full);
                return None;
            }
            count(&self.metrics.evicted);
        }
        table.next += 1;
        let id = table.next;
        let evicted = Arc::<Notify>::default();
        table.open.insert(
            id,
            Entry {
                owner,
                turn: None,
                evicted: Arc::clone(&evicted),
            },
        );
        table.owners.entry(owner).or_default().open += 1;
        // It can be chosen from now on: many may come before the first of them is looked at.
        table.set_turn(id, Some(Waits::Partial));
        self.metrics
            .connections
            .store(table.open.len() as u64, Relaxed);
        drop(table);
        Some(Place {
            id,
            evicted,
            places: Arc::clone(self),
        })
    }
}

/// A connection's place; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    evicted: Arc<Notify>,
    places: Arc<Places>,
}

impl Place {
    /// The connection waits for its peer, or is at work.
    pub(super) fn waits(&self, waits: Option<Waits>) {
        self.places.table().set_turn(self.id, waits);
    }

    /// Ends when the place went to another connection, and at once ever after.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
        self.evicted.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.places.table();
        table.remove(self.id);
        let open = table.open.len() as u64;
        self.places.metrics.connections.store(open, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn places(all: usize, address: usize) -> Arc<Places> {
        Places::new(all, address, Arc::default())
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, last).into()
    }

    fn is_evicted(place: &Place) -> bool {
        !place.places.table().open.contains_key(&place.id)
    }

    #[test]
    fn idle_ones_give_way_before_half_requests_and_the_longest_first() {
        let places = places(3, 3);
        let taken: Vec<Place> = (0..3).filter_map(|_| places.take(address(1))).collect();
        taken[0].waits(Some(Waits::Partial));
        taken[1].waits(Some(Waits::Idle));
        taken[2].waits(Some(Waits::Idle));
        // The one that began to wait anew is the younger.
        taken[1].waits(Some(Waits::Idle));
        let more: Vec<Place> = (0..3).filter_map(|_| places.take(address(1))).collect();
        assert_eq!(more.len(), 3);
        assert!(taken.iter().all(is_evicted));
        for place in &more {
            place.waits(None);
        }
        assert!(places.take(address(1)).is_none(), "all are at work");
        let order: Vec<u64> = {
            more[0].waits(Some(Waits::Answering));
            more[1].waits(Some(Waits::Partial));
            more[2].waits(Some(Waits::Idle));
            places.table().waiting.values().copied().collect()
        };
        assert_eq!(order, [more[2].id, more[1].id, more[0].id]);
        drop((taken, more));
        assert_eq!(places.metrics.connections.load(Relaxed), 0);
        assert!(places.table().owners.is_empty() && places.table().waiting.is_empty());
    }

    #[test]
    fn many_at_once_push_out_the_oldest_half_requests_and_not_each_other() {
        let places = places(4, 4);
        let halves: Vec<Place> = (0..4).filter_map(|_| places.take(address(1))).collect();
        let burst: Vec<Place> = (0..4).filter_map(|_| places.take(address(1))).collect();
        assert!(halves.iter().all(is_evicted));
        assert!(!burst.iter().any(is_evicted));
    }

    #[test]
    fn an_address_takes_only_from_itself() {
        let places = places(4, 2);
        let mine: Vec<Place> = (0..2).filter_map(|_| places.take(address(1))).collect();
        let other = places.take(address(2)).expect("room");
        for place in mine.iter().chain([&other]) {
            place.waits(Some(Waits::Idle));
        }
        let third = places.take(address(1)).expect("its own oldest gives way");
        assert!(is_evicted(&mine[0]) && !is_evicted(&mine[1]) && !is_evicted(&other));
        drop(third);
    }

    #[test]
    fn a_subscriber_of_ipv6_is_a_net_and_a_mapped_address_is_ipv4() {
        let owner = |text: &str| Owner::of(text.parse().expect("an address"));
        assert_eq!(owner("2001:db8::1"), owner("2001:db8::ffff:1"));
        assert_ne!(owner("2001:db8::1"), owner("2001:db8:0:1::1"));
        assert_eq!(owner("::ffff:192.0.2.1"), owner("192.0.2.1"));
    }
}
