//! In which order a stream's deliveries are taken: the gap rule, for the log of each region.

use bytes::Bytes;
use chorus_protocol::gap::{Heard, Tracker};
use chorus_protocol::session::DeliveryView;
use chorus_protocol::{Position, Region};

/// A delivery contradicts itself, or comes from another incarnation of its log than what is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong;

/// How far a stream's logs were read, and which deliveries wait for what precedes them.
#[derive(Debug)]
pub(super) struct Order {
    /// There are few. A delivery that waits is kept as it came.
    regions: Vec<(Region, Tracker<Bytes>)>,
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

    /// Takes a delivery, which is what `data` says; what follows then is handed to `take` with its bytes, without what was
    /// there before.
    pub(super) fn hear(
        &mut self,
        delivery: DeliveryView<'_>,
        data: Bytes,
        mut take: impl FnMut(&Region, &DeliveryView<'_>, Bytes),
    ) -> Result<Heard, Wrong> {
        if !sound(&delivery) {
            return Err(Wrong);
        }
        let (region, tracker) = self.region(&delivery)?;
        // What became of the rest of another incarnation only the gateway can tell.
        if tracker.epoch() != delivery.epoch {
            return Err(Wrong);
        }
        if let Some(after) = tracker.pass(delivery.from, delivery.to) {
            let (delivery, data) = cut(delivery, data, after);
            take(region, &delivery, data);
            return Ok(Heard::Next);
        }
        let heard = tracker.hear(delivery.from, delivery.to, data);
        for step in tracker.drain() {
            // It was read when it came.
            if let Ok(delivery) = DeliveryView::read(&step.payload) {
                let (delivery, data) = cut(delivery, step.payload.clone(), step.after);
                take(region, &delivery, data);
            }
        }
        Ok(heard)
    }

    /// The region of a delivery; one that was not known stands at its beginning.
    fn region(
        &mut self,
        delivery: &DeliveryView<'_>,
    ) -> Result<(&Region, &mut Tracker<Bytes>), Wrong> {
        let name = delivery.region;
        let known = self.regions.iter().position(|it| it.0.as_str() == name);
        let index = known.unwrap_or(self.regions.len());
        if known.is_none() {
            let region = Region::new(name).map_err(|_| Wrong)?;
            let waiting_max = self.waiting_max.saturating_add(1);
            let tracker = Tracker::new(delivery.epoch, 0, waiting_max);
            self.regions.push((region, tracker));
        }
        let (region, tracker) = self.regions.get_mut(index).ok_or(Wrong)?;
        Ok((region, tracker))
    }

    /// Deliveries that wait.
    pub(super) fn waiting(&self) -> usize {
        self.regions.iter().map(|(_, it)| it.waiting()).sum()
    }

    /// More wait than may.
    pub(super) fn is_full(&self) -> bool {
        self.waiting() > self.waiting_max
    }
}

/// What of a delivery lies after `after`, with its bytes.
fn cut<'a>(mut delivery: DeliveryView<'a>, data: Bytes, after: u64) -> (DeliveryView<'a>, Bytes) {
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
fn sound(delivery: &DeliveryView<'_>) -> bool {
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

    fn delivery(region: &str, from: u64, to: u64) -> DeliveryView<'_> {
        DeliveryView {
            region,
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
        let mut hear = |order: &mut Order, delivery: DeliveryView<'_>| {
            let data = rmp_serde::to_vec_named(&delivery).expect("writes");
            order.hear(delivery, data.into(), |region, it, _| {
                taken.push((region.to_string(), it.from, it.to));
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
        let of_another_epoch = DeliveryView {
            epoch: 8,
            ..delivery("eu", 0, 1)
        };
        assert_eq!(hear(&mut order, of_another_epoch), Err(Wrong));
        let us = "us".to_owned();
        assert_eq!(taken, [(us.clone(), 0, 5), (us, 5, 6)]);
    }
}
