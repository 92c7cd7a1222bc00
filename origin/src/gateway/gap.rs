//! The gap rule for one stream in one region's log: nothing is forwarded before what comes before it.
//!
//! Sans-IO: live messages, last sequences and what was read from the log go in; what may be forwarded, and what must be
//! read, come out.

use std::collections::BTreeMap;

use chorus_protocol::backhaul::Item;

/// Live messages kept while a hole is read from the log; beyond it the highest is dropped and read later.
const WAITING_MAX: usize = 5_000;

/// What a live message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Known already.
    Old,
    /// The next one.
    Next,
    /// Something before it is missing.
    Hole,
}

/// What may be forwarded: everything in `(from, to]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) items: Vec<Item>,
}

/// Where the forwarding of one subject stands.
#[derive(Debug)]
pub(super) struct Tracker {
    pub(super) epoch: u64,
    /// Everything up to here was forwarded.
    forwarded: u64,
    /// Everything up to here is in `ready` or was forwarded.
    at: u64,
    ready: Vec<Item>,
    /// Live messages that something is missing before: sequence → (previous, item).
    waiting: BTreeMap<u64, (u64, Item)>,
    /// The log is known to go at least this far.
    wanted: u64,
    reading: bool,
}

impl Tracker {
    pub(super) fn new(epoch: u64, at: u64) -> Self {
        Self {
            epoch,
            forwarded: at,
            at,
            ready: Vec::new(),
            waiting: BTreeMap::new(),
            wanted: at,
            reading: false,
        }
    }

    /// Up to where everything was forwarded.
    pub(super) fn forwarded(&self) -> u64 {
        self.forwarded
    }

    /// Takes a live message: its item and the sequence of the one before it on the subject.
    pub(super) fn hear(&mut self, item: Item, previous: u64) -> Heard {
        let seq = item.seq;
        if seq <= self.at {
            return Heard::Old;
        }
        // Nearly every message: it follows on the last one and nothing waits.
        if previous <= self.at && self.waiting.is_empty() {
            self.at = seq;
            self.ready.push(item);
            return Heard::Next;
        }
        if self.waiting.contains_key(&seq) {
            return Heard::Old;
        }
        self.waiting.insert(seq, (previous, item));
        self.advance();
        if self.at >= seq {
            return Heard::Next;
        }
        if self.waiting.len() > WAITING_MAX
            && let Some((dropped, _)) = self.waiting.pop_last()
        {
            self.wanted = self.wanted.max(dropped);
        }
        Heard::Hole
    }

    /// Takes the last sequence the log has; true when it was not known.
    pub(super) fn last(&mut self, last: u64) -> bool {
        self.wanted = self.wanted.max(last);
        let heard = self.waiting.last_key_value().map_or(0, |(seq, _)| *seq);
        last > self.at.max(heard)
    }

    /// The sequence after which the log must be read, when it must; answered by [`Tracker::read`] or
    /// [`Tracker::not_read`].
    pub(super) fn wants(&mut self) -> Option<u64> {
        if self.reading || (self.waiting.is_empty() && self.wanted <= self.at) {
            return None;
        }
        self.reading = true;
        Some(self.at)
    }

    /// Takes what the log holds after the sequence asked for, without a hole; `complete` when that is all of it.
    /// Returns how many were missing.
    pub(super) fn read(&mut self, items: Vec<Item>, complete: bool) -> usize {
        self.reading = false;
        let mut missing = 0;
        for item in items {
            if item.seq <= self.at {
                continue;
            }
            missing += usize::from(self.waiting.remove(&item.seq).is_none());
            self.at = item.seq;
            self.ready.push(item);
        }
        self.advance();
        if complete {
            // What the log no longer has cannot be waited for.
            self.wanted = self.wanted.min(self.at);
            if let Some((_, (previous, _))) = self.waiting.first_key_value() {
                self.at = self.at.max(*previous);
                self.advance();
            }
        }
        missing
    }

    /// The log could not be read; [`Tracker::wants`] asks again.
    pub(super) fn not_read(&mut self) {
        self.reading = false;
    }

    /// What may be forwarded now.
    pub(super) fn take(&mut self) -> Option<Ready> {
        if self.forwarded == self.at {
            return None;
        }
        let ready = Ready {
            from: self.forwarded,
            to: self.at,
            items: std::mem::take(&mut self.ready),
        };
        self.forwarded = self.at;
        Some(ready)
    }

    fn advance(&mut self) {
        while let Some(first) = self.waiting.first_entry() {
            let seq = *first.key();
            if seq > self.at && first.get().0 > self.at {
                return;
            }
            let (_, item) = first.remove();
            if seq > self.at {
                self.at = seq;
                self.ready.push(item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chorus_protocol::backhaul::ItemKind;
    use proptest::prelude::*;

    use super::*;

    fn item(seq: u64) -> Item {
        Item {
            region: "dev".parse().expect("a region"),
            epoch: 1,
            seq,
            kind: ItemKind::Comment,
            record: Vec::new(),
        }
    }

    /// The log of one subject: its sequences have holes, because other subjects share the log.
    fn log(steps: &[u64]) -> Vec<u64> {
        steps
            .iter()
            .scan(0, |seq, step| {
                *seq += step;
                Some(*seq)
            })
            .collect()
    }

    fn after(log: &[u64], from: u64, max: usize) -> (Vec<Item>, bool) {
        let rest: Vec<u64> = log.iter().copied().filter(|seq| *seq > from).collect();
        let complete = rest.len() <= max;
        (rest.into_iter().take(max).map(item).collect(), complete)
    }

    proptest! {
        /// Whatever is lost, repeated or reordered: all of the log is forwarded once, in its order, without a hole.
        #[test]
        fn everything_is_forwarded_once_and_in_order(
            steps in prop::collection::vec(1_u64..4, 1..60),
            live in prop::collection::vec((0_usize..60, 0_u8..10), 0..120),
        ) {
            let log = log(&steps);
            let mut tracker = Tracker::new(1, 0);
            let mut seen = Vec::new();
            let mut reached = 0;
            let mut asked = None;
            for (index, kind) in live {
                // Mostly near the front, as live messages are; sometimes anywhere.
                let index = if kind < 7 { log.iter().filter(|seq| **seq <= reached).count() + index % 3 } else { index };
                if let Some(seq) = log.get(index) {
                    let previous = if index == 0 { 0 } else { log[index - 1] };
                    tracker.hear(item(*seq), previous);
                }
                if kind == 8 { tracker.last(log[log.len() / 2]); }
                asked = asked.or_else(|| tracker.wants());
                if kind >= 5 && let Some(from) = asked.take() {
                    if kind == 9 { tracker.not_read(); } else {
                        let (items, complete) = after(&log, from, 3);
                        tracker.read(items, complete);
                    }
                }
                if let Some(ready) = tracker.take() {
                    prop_assert_eq!(ready.from, reached);
                    reached = ready.to;
                    seen.extend(ready.items.iter().map(|item| item.seq));
                }
            }
            if asked.is_some() { tracker.not_read(); }
            tracker.last(*log.last().expect("not empty"));
            while let Some(from) = tracker.wants() {
                let (items, complete) = after(&log, from, 3);
                tracker.read(items, complete);
                if let Some(ready) = tracker.take() {
                    seen.extend(ready.items.iter().map(|item| item.seq));
                }
            }
            if let Some(ready) = tracker.take() {
                seen.extend(ready.items.iter().map(|item| item.seq));
            }
            prop_assert_eq!(seen, log);
        }
    }

    #[test]
    fn what_the_log_no_longer_has_is_not_waited_for() {
        let mut tracker = Tracker::new(1, 3);
        assert_eq!(tracker.hear(item(9), 7), Heard::Hole);
        assert_eq!(tracker.wants(), Some(3));
        tracker.read(Vec::new(), true);
        let ready = tracker.take().expect("goes on");
        assert_eq!((ready.from, ready.to), (3, 9));
        assert_eq!(tracker.wants(), None);
    }

    #[test]
    fn a_burst_behind_a_hole_is_bounded_and_still_complete() {
        let mut tracker = Tracker::new(1, 0);
        let last = WAITING_MAX as u64 + 100;
        for seq in 2..=last {
            tracker.hear(item(seq), seq - 1);
        }
        assert_eq!(tracker.waiting.len(), WAITING_MAX);
        let all: Vec<u64> = (1..=last).collect();
        let mut seen = 0;
        while let Some(from) = tracker.wants() {
            let (items, complete) = after(&all, from, 1_000);
            tracker.read(items, complete);
            seen += tracker.take().map_or(0, |ready| ready.items.len() as u64);
        }
        assert_eq!(seen, last);
    }
}
