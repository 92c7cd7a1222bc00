//! The network as a core: packets go in with the time, and come out when they are due. No clock, no socket, no thread.

#[cfg(test)]
mod tests;

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::ends::{Ends, Host};
use super::link::{Change, Dropped, Link, Settings};
use super::stats::{Counts, LinkStats};

/// Bytes on their way over all links; further packets are dropped and counted as dropped by the queue.
const IN_FLIGHT_BYTES_MAX: usize = 512 << 20;
const IPV4_HEADER_BYTES: usize = 20;

/// Hosts and a link for each ordered pair of them.
pub(crate) struct Network {
    hosts: Vec<Host>,
    by_address: HashMap<Ipv4Addr, usize>,
    /// From host f to host t: at f × hosts + t.
    links: Vec<Link>,
    counts: Vec<Counts>,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    in_flight_bytes: usize,
    /// Packets that ever entered a link: what is due at the same time leaves in the order it came.
    entered: u64,
    /// IPv4 packets to an address that no host has.
    unroutable: u64,
}

/// A packet that has arrived.
pub(crate) struct Delivery {
    /// To which host.
    pub(crate) host: usize,
    pub(crate) packet: Box<[u8]>,
    link: usize,
    sent_at: Duration,
}

struct InFlight {
    due: Duration,
    number: u64,
    link: usize,
    sent_at: Duration,
    packet: Box<[u8]>,
}

impl Network {
    /// A network of `hosts` in which all links are as `settings` says.
    pub(crate) fn new(hosts: Vec<Host>, seed: u64, settings: &Settings) -> Self {
        let by_address = hosts
            .iter()
            .enumerate()
            .map(|(index, host)| (host.address, index))
            .collect();
        let links: Vec<Link> = hosts
            .iter()
            .flat_map(|from| hosts.iter().map(move |to| (from, to)))
            .map(|(from, to)| {
                let name = format!("{} -> {}", from.name, to.name);
                Link::new(settings.clone(), seed, &name)
            })
            .collect();
        Self {
            counts: links.iter().map(|_| Counts::default()).collect(),
            hosts,
            by_address,
            links,
            in_flight: BinaryHeap::new(),
            in_flight_bytes: 0,
            entered: 0,
            unroutable: 0,
        }
    }

    /// The hosts, by index.
    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// IPv4 packets to an address that no host has.
    pub(crate) const fn unroutable(&self) -> u64 {
        self.unroutable
    }

    /// Changes the links that `ends` means; later packets are treated so. Returns their number.
    pub(crate) fn change(&mut self, ends: &Ends, change: &Change) -> usize {
        self.each(Some(ends), |link| link.settings.apply(change))
    }

    /// Makes every link from and to the host of this index longer.
    pub(crate) fn add_delay(&mut self, host: usize, delay: Duration) {
        for (index, link) in self.links.iter_mut().enumerate() {
            let (from, to) = (index / self.hosts.len(), index % self.hosts.len());
            if from == host || to == host {
                link.settings.delay += delay;
            }
        }
    }

    /// Cuts or heals the links that `ends` means, or all. What is on its way over a link that is cut when it
    /// would arrive is lost too. Returns their number.
    pub(crate) fn cut(&mut self, ends: Option<&Ends>, cut: bool) -> usize {
        self.each(ends, |link| link.cut = cut)
    }

    fn each(&mut self, ends: Option<&Ends>, mut change: impl FnMut(&mut Link)) -> usize {
        let mut changed = 0;
        for (index, link) in self.links.iter_mut().enumerate() {
            let (from, to) = (index / self.hosts.len(), index % self.hosts.len());
            let meant = ends.is_none_or(|ends| ends.mean(&self.hosts[from], &self.hosts[to]));
            if from != to && meant {
                change(link);
                changed += 1;
            }
        }
        changed
    }

    /// A packet leaves the host of index `from`. Anything but IPv4 is passed over.
    pub(crate) fn send(&mut self, now: Duration, from: usize, packet: &[u8]) {
        let Some(address) = destination(packet) else {
            return;
        };
        let Some(&to) = self.by_address.get(&address) else {
            self.unroutable += 1;
            return;
        };
        let index = from * self.hosts.len() + to;
        let counts = &mut self.counts[index];
        counts.sent += 1;
        let has_room = self.in_flight_bytes + packet.len() <= IN_FLIGHT_BYTES_MAX;
        let fate = if has_room {
            self.links[index].send(now, packet.len())
        } else {
            Err(Dropped::Queue)
        };
        let arrival = match fate {
            Ok(arrival) => arrival,
            Err(why) => return counts.dropped(why),
        };
        counts.held_back += u64::from(arrival.held_back);
        self.entered += 1;
        self.in_flight_bytes += packet.len();
        self.in_flight.push(Reverse(InFlight {
            due: arrival.due,
            number: self.entered,
            link: index,
            sent_at: now,
            packet: packet.into(),
        }));
    }

    /// When the next packet is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.in_flight.peek().map(|Reverse(next)| next.due)
    }

    /// The next packet that is due by `now`.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Delivery> {
        while self.next_due()? <= now {
            let Reverse(next) = self.in_flight.pop()?;
            self.in_flight_bytes -= next.packet.len();
            if self.links[next.link].cut {
                self.counts[next.link].dropped(Dropped::Partition);
                continue;
            }
            return Some(Delivery {
                host: next.link % self.hosts.len(),
                packet: next.packet,
                link: next.link,
                sent_at: next.sent_at,
            });
        }
        None
    }

    /// The delivery was handed to its host at `now`, or could not be.
    pub(crate) fn delivered(&mut self, now: Duration, delivery: &Delivery, taken: bool) {
        let counts = &mut self.counts[delivery.link];
        if taken {
            counts.delivered(delivery.packet.len(), now.saturating_sub(delivery.sent_at));
        } else {
            counts.undelivered += 1;
        }
    }

    /// Every link.
    pub(crate) fn stats(&self) -> Vec<LinkStats> {
        let name = |host: usize| self.hosts[host].name.as_str();
        self.links
            .iter()
            .zip(&self.counts)
            .enumerate()
            .filter(|(index, _)| index / self.hosts.len() != index % self.hosts.len())
            .map(|(index, (link, counts))| {
                let (from, to) = (index / self.hosts.len(), index % self.hosts.len());
                LinkStats::new(name(from), name(to), link, counts)
            })
            .collect()
    }
}

fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let is_ipv4 = packet.len() >= IPV4_HEADER_BYTES && packet[0] >> 4 == 4;
    let octets: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    is_ipv4.then(|| octets.into())
}

impl InFlight {
    const fn key(&self) -> (Duration, u64) {
        (self.due, self.number)
    }
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for InFlight {}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}
