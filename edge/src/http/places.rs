//! The places of HTTP connections: bounds in total and for each address.
//!
//! A new connection never waits. At a bound it takes the place of the connection that has waited longest for its peer, and
//! is refused only when none waits, that is when all are being answered. So incomplete requests displace only each other
//! and idle connections.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::metrics::{HttpMetrics, count};

/// What a connection waits for, in the order in which connections lose their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WaitsFor {
    /// A further request, or the end of the connection.
    Idle,
    /// The first request, or the remaining bytes of one.
    Partial,
    /// Until the peer has received an answer.
    Answering,
}

/// Order of the waiting connections: by [`WaitsFor`], then by the time since which they wait.
type WaitOrder = (WaitsFor, u64);

/// The address that a connection counts for: an IPv4 address, or the /64 of an IPv6 address, which one subscriber has.
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
    waiting: BTreeMap<WaitOrder, u64>,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    order: Option<WaitOrder>,
    evicted: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Entry>,
    owners: HashMap<Owner, Owned>,
    waiting: BTreeMap<WaitOrder, u64>,
}

impl Table {
    fn remove(&mut self, id: u64) -> Option<Entry> {
        self.set_waiting(id, None);
        let entry = self.open.remove(&id)?;
        if let Some(owned) = self.owners.get_mut(&entry.owner) {
            owned.open -= 1;
            if owned.open == 0 {
                self.owners.remove(&entry.owner);
            }
        }
        Some(entry)
    }

    fn set_waiting(&mut self, id: u64, waits: Option<WaitsFor>) {
        let Some(entry) = self.open.get_mut(&id) else {
            return;
        };
        let owned = self.owners.entry(entry.owner).or_default();
        if let Some(order) = entry.order.take() {
            self.waiting.remove(&order);
            owned.waiting.remove(&order);
        }
        if let Some(waits) = waits {
            self.next += 1;
            let order = (waits, self.next);
            entry.order = Some(order);
            self.waiting.insert(order, id);
            owned.waiting.insert(order, id);
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

/// The places of a server and the connections that have them.
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
        // No code panics while it holds this lock; if one did, only a place would be lost.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a connection a place, if necessary that of a waiting connection; `None` when no connection waits.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
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
                order: None,
                evicted: Arc::clone(&evicted),
            },
        );
        table.owners.entry(owner).or_default().open += 1;
        // The new connection can lose its place from now on, because many may come before the first one is served.
        table.set_waiting(id, Some(WaitsFor::Partial));
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

/// The place of a connection; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    evicted: Arc<Notify>,
    places: Arc<Places>,
}

impl Place {
    /// Sets what the connection waits for; `None` while its request is being answered.
    pub(super) fn waits(&self, waits: Option<WaitsFor>) {
        self.places.table().set_waiting(self.id, waits);
    }

    /// Returns when the connection has lost its place, and immediately in later calls.
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
        let taken: Vec<Place> = (0..3).filter_map(|_| places.admit(address(1))).collect();
        taken[0].waits(Some(WaitsFor::Partial));
        taken[1].waits(Some(WaitsFor::Idle));
        taken[2].waits(Some(WaitsFor::Idle));
        // Waiting again restarts the time, so this one is not the oldest any more.
        taken[1].waits(Some(WaitsFor::Idle));
        let more: Vec<Place> = (0..3).filter_map(|_| places.admit(address(1))).collect();
        assert_eq!(more.len(), 3);
        assert!(taken.iter().all(is_evicted));
        for place in &more {
            place.waits(None);
        }
        assert!(places.admit(address(1)).is_none(), "all are at work");
        let order: Vec<u64> = {
            more[0].waits(Some(WaitsFor::Answering));
            more[1].waits(Some(WaitsFor::Partial));
            more[2].waits(Some(WaitsFor::Idle));
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
        let halves: Vec<Place> = (0..4).filter_map(|_| places.admit(address(1))).collect();
        let burst: Vec<Place> = (0..4).filter_map(|_| places.admit(address(1))).collect();
        assert!(halves.iter().all(is_evicted));
        assert!(!burst.iter().any(is_evicted));
    }

    #[test]
    fn an_address_takes_only_from_itself() {
        let places = places(4, 2);
        let mine: Vec<Place> = (0..2).filter_map(|_| places.admit(address(1))).collect();
        let other = places.admit(address(2)).expect("room");
        for place in mine.iter().chain([&other]) {
            place.waits(Some(WaitsFor::Idle));
        }
        let third = places.admit(address(1)).expect("its own oldest gives way");
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
