//! In which order a stream's deliveries are taken: the gap rule, for the log of each region.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use chorus_protocol::gap::{Heard, Tracker};
use chorus_protocol::session::Delivery;
use chorus_protocol::{Position, Region};

/// A delivery and its bytes as they came.
pub(super) type Arrived = (Delivery, Bytes);

/// A delivery contradicts itself, or comes from another incarnation of its log than what is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong;

/// How far a stream's logs were read, and which deliveries wait for what precedes them.
#[derive(Debug)]
pub(super) struct Order {
    regions: BTreeMap<Region, Tracker<Arrived>>,
    waiting_max: usize,
}

impl Order {
    /// Begins after `at`. More than `waiting_max` deliveries that wait are [`Self::is_full`].
    pub(super) fn new(at: &Position, waiting_max: usize) -> Self {
        let trackers = at.0.iter().map(|(region, offset)| {
            let tracker = Tracker::new(offset.epoch, offset.seq, waiting_max.saturating_add(1));
            (region.clone(), tracker)
        });
        Self {
            regions: trackers.collect(),
            waiting_max,
        }
    }

    /// Takes a delivery; what follows then is handed to `take`, without what was there before.
    pub(super) fn hear(
        &mut self,
        delivery: Delivery,
        data: Bytes,
        take: impl FnMut(Arrived),
    ) -> Result<Heard, Wrong> {
        if !sound(&delivery) {
            return Err(Wrong);
        }
        let tracker = match self.regions.entry(delivery.region.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let waiting_max = self.waiting_max.saturating_add(1);
                entry.insert(Tracker::new(delivery.epoch, 0, waiting_max))
            }
        };
        // What became of the rest of another incarnation only the gateway can tell.
        if tracker.epoch() != delivery.epoch {
            return Err(Wrong);
        }
        let heard = tracker.hear(delivery.from, delivery.to, (delivery, data));
        tracker
            .drain()
            .map(|step| cut(step.payload, step.after))
            .for_each(take);
        Ok(heard)
    }

    /// Deliveries that wait.
    pub(super) fn waiting(&self) -> usize {
        self.regions.values().map(Tracker::waiting).sum()
    }

    /// More wait than may.
    pub(super) fn is_full(&self) -> bool {
        self.waiting() > self.waiting_max
    }
}

/// What of a delivery lies after `after`.
fn cut((mut delivery, data): Arrived, after: u64) -> Arrived {
    if delivery.from >= after {
        return (delivery, data);
    }
    delivery.from = after;
    delivery.events.retain(|event| event.seq > after);
    // Writing into memory cannot fail.
    let rest = rmp_serde::to_vec_named(&delivery).unwrap_or_default();
    (delivery, rest.into())
}

/// Whether a delivery's events are what its range says.
fn sound(delivery: &Delivery) -> bool {
    let mut last = delivery.from;
    delivery.from <= delivery.to
        && delivery.events.iter().all(|event| {
            let follows = event.seq > last
                && event.seq <= delivery.to
                && event.epoch == delivery.epoch
                && event.region == delivery.region;
            last = event.seq;
            follows
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(region: &str, from: u64, to: u64) -> Delivery {
        Delivery {
            region: region.parse().expect("a region"),
            epoch: 7,
            from,
            to,
            events: Vec::new(),
        }
    }

    #[test]
    fn each_region_waits_for_itself_and_all_have_one_bound() {
        let mut order = Order::new(&Position::default(), 2);
        let mut taken = Vec::new();
        let mut hear = |order: &mut Order, delivery: Delivery| {
            order.hear(delivery, Bytes::new(), |(it, _)| {
                taken.push((it.region.to_string(), it.from, it.to));
            })
        };
        assert_eq!(hear(&mut order, delivery("eu", 2, 3)), Ok(Heard::Hole));
        assert_eq!(hear(&mut order, delivery("us", 4, 6)), Ok(Heard::Hole));
        assert!(!order.is_full());
        assert_eq!(hear(&mut order, delivery("us", 7, 8)), Ok(Heard::Hole));
        assert!(order.is_full());
        assert_eq!(hear(&mut order, delivery("us", 0, 5)), Ok(Heard::Next));
        assert_eq!(hear(&mut order, delivery("us", 1, 6)), Ok(Heard::Old));
        assert_eq!(order.waiting(), 2);
        let of_another_epoch = Delivery {
            epoch: 8,
            ..delivery("eu", 0, 1)
        };
        assert_eq!(hear(&mut order, of_another_epoch), Err(Wrong));
        let us = "us".to_owned();
        assert_eq!(taken, [(us.clone(), 0, 5), (us, 5, 6)]);
    }
}
