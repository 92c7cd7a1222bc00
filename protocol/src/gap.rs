//! The gap rule, for whoever reads one subject of a log: nothing is taken before what comes before it.
//!
//! Sans-IO. Ranges `(from, to]` of the log come in any order, repeated, overlapping or with holes between them, each with
//! a payload that only the reader knows; out come those that follow, each once, in the order of the log. A gateway reads
//! live messages (a range each: from the previous message of the subject to this one), a PoP and a session read
//! deliveries. What fills a hole is read from the log, or the subject is followed anew.

use std::collections::BTreeMap;

/// What a range was to the place reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// All of it was there before.
    Old,
    /// It follows, at least in part.
    Next,
    /// Something before it is missing: it waits.
    Hole,
}

/// A range that follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<P> {
    /// What lies at or below this was there before: above the range's own start where it overlaps.
    pub after: u64,
    /// All up to this is there with it.
    pub to: u64,
    /// What the reader handed in.
    pub payload: P,
}

/// How far one subject of a log was read, and what waits behind a hole.
#[derive(Clone, Debug)]
pub struct Tracker<P> {
    /// Which incarnation of the log.
    epoch: u64,
    /// Everything up to here is in `ready` or was taken.
    at: u64,
    ready: Vec<Step<P>>,
    /// Ranges that something is missing before: end → (start, payload).
    waiting: BTreeMap<u64, (u64, P)>,
    waiting_max: usize,
    /// The log is known to go at least this far.
    wanted: u64,
    /// Up to here the log was known to go when the read under way was asked for.
    asked: u64,
    reading: bool,
}

impl<P> Tracker<P> {
    /// Begins after `at`. At most `waiting_max` ranges wait behind a hole: beyond it the highest is dropped and known to be
    /// missing.
    #[must_use]
    pub fn new(epoch: u64, at: u64, waiting_max: usize) -> Self {
        Self {
            epoch,
            at,
            ready: Vec::new(),
            waiting: BTreeMap::new(),
            waiting_max,
            wanted: at,
            asked: at,
            reading: false,
        }
    }

    /// Which incarnation of the log is read.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Everything up to here was taken or is ready.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Ranges that wait behind a hole.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a range that follows when nothing else waits, and gives the place it follows: the short way for what nearly
    /// always comes. Its payload goes to the reader at once.
    pub fn pass(&mut self, from: u64, to: u64) -> Option<u64> {
        let follows = from <= self.at && to > self.at;
        let alone = self.waiting.is_empty() && self.ready.is_empty();
        (follows && alone).then(|| std::mem::replace(&mut self.at, to))
    }

    /// Takes a range `(from, to]`.
    pub fn hear(&mut self, from: u64, to: u64, payload: P) -> Heard {
        if to <= self.at {
            return Heard::Old;
        }
        if from > self.at {
            if self
                .waiting
                .get(&to)
                .is_some_and(|(known, _)| *known <= from)
            {
                return Heard::Old;
            }
            self.waiting.insert(to, (from, payload));
            if self.waiting.len() > self.waiting_max
                && let Some((dropped, _)) = self.waiting.pop_last()
            {
                self.wanted = self.wanted.max(dropped);
            }
            return Heard::Hole;
        }
        self.step(to, payload);
        // Nearly always nothing waits.
        self.advance();
        Heard::Next
    }

    /// Takes the last sequence the log has; true when it was not known.
    pub fn last(&mut self, last: u64) -> bool {
        self.wanted = self.wanted.max(last);
        last > self.at.max(self.heard())
    }

    /// The end of the last range that waits.
    fn heard(&self) -> u64 {
        self.waiting.last_key_value().map_or(0, |(to, _)| *to)
    }

    /// Whether something is known to be missing.
    #[must_use]
    pub fn has_hole(&self) -> bool {
        !self.waiting.is_empty() || self.wanted > self.at
    }

    /// The sequence after which the log must be read, when it must; answered by [`Self::read`] or [`Self::not_read`].
    pub fn wants(&mut self) -> Option<u64> {
        if self.reading || !self.has_hole() {
            return None;
        }
        self.reading = true;
        self.asked = self.wanted.max(self.heard());
        Some(self.at)
    }

    /// Takes what the log holds after the sequence asked for, without a hole: each by its sequence. `complete` when that
    /// is all of it. Returns how many were missing.
    pub fn read(&mut self, found: impl IntoIterator<Item = (u64, P)>, complete: bool) -> usize {
        self.reading = false;
        let mut missing = 0;
        for (seq, payload) in found {
            if seq <= self.at {
                continue;
            }
            missing += usize::from(self.waiting.remove(&seq).is_none());
            self.step(seq, payload);
        }
        self.advance();
        if complete {
            // What the log no longer has cannot be waited for. What was heard of since it was asked is not in its answer.
            if self.wanted <= self.asked {
                self.wanted = self.wanted.min(self.at);
            }
            while let Some((_, (from, _))) = self.waiting.first_key_value()
                && *from <= self.asked
            {
                self.at = self.at.max(*from);
                self.advance();
            }
        }
        missing
    }

    /// The log could not be read; [`Self::wants`] asks again.
    pub fn not_read(&mut self) {
        self.reading = false;
    }

    /// Nothing up to here can be had any more, or it is there by another way.
    pub fn skip(&mut self, to: u64) {
        self.at = self.at.max(to);
        self.wanted = self.wanted.max(self.at);
        self.reading = false;
        self.advance();
    }

    /// What follows and was not taken yet, in the order of the log.
    pub fn take(&mut self) -> Vec<Step<P>> {
        std::mem::take(&mut self.ready)
    }

    /// As [`Self::take`], into a buffer that is used again.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Step<P>> {
        self.ready.drain(..)
    }

    fn step(&mut self, to: u64, payload: P) {
        let after = self.at;
        self.at = to;
        self.ready.push(Step { after, to, payload });
    }

    /// Takes what waited as far as it follows now.
    fn advance(&mut self) {
        while let Some(first) = self.waiting.first_entry() {
            let to = *first.key();
            if to > self.at && first.get().0 > self.at {
                return;
            }
            let (_, payload) = first.remove();
            if to > self.at {
                self.step(to, payload);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    fn after(log: &[u64], from: u64, max: usize) -> (Vec<(u64, u64)>, bool) {
        let rest: Vec<u64> = log.iter().copied().filter(|seq| *seq > from).collect();
        let complete = rest.len() <= max;
        (
            rest.into_iter().take(max).map(|seq| (seq, seq)).collect(),
            complete,
        )
    }

    proptest! {
        /// Whatever is lost, repeated or reordered: all of the log is taken once, in its order, without a hole.
        #[test]
        fn everything_is_taken_once_and_in_order(
            steps in prop::collection::vec(1_u64..4, 1..60),
            live in prop::collection::vec((0_usize..60, 0_u8..10), 0..120),
        ) {
            let log = log(&steps);
            let mut tracker = Tracker::new(1, 0, 50);
            let mut seen = Vec::new();
            let mut reached = 0;
            let mut asked = None;
            for (index, kind) in live {
                // Mostly near the front, as live messages are; sometimes anywhere.
                let index = if kind < 7 { log.iter().filter(|seq| **seq <= reached).count() + index % 3 } else { index };
                if let Some(seq) = log.get(index) {
                    let previous = if index == 0 { 0 } else { log[index - 1] };
                    match tracker.pass(previous, *seq) {
                        Some(after) => {
                            prop_assert_eq!(after, reached);
                            reached = *seq;
                            seen.push(*seq);
                        }
                        None => drop(tracker.hear(previous, *seq, *seq)),
                    }
                }
                if kind == 8 { tracker.last(log[log.len() / 2]); }
                asked = asked.or_else(|| tracker.wants());
                if kind >= 5 && let Some(from) = asked.take() {
                    if kind == 9 { tracker.not_read(); } else {
                        let (found, complete) = after(&log, from, 3);
                        tracker.read(found, complete);
                    }
                }
                for step in tracker.take() {
                    prop_assert_eq!(step.after, reached);
                    reached = step.to;
                    seen.push(step.payload);
                }
            }
            if asked.is_some() { tracker.not_read(); }
            tracker.last(*log.last().expect("not empty"));
            while let Some(from) = tracker.wants() {
                let (found, complete) = after(&log, from, 3);
                tracker.read(found, complete);
            }
            seen.extend(tracker.take().into_iter().map(|step| step.payload));
            prop_assert_eq!(seen, log);
        }

        /// Ranges that overlap: what is new in each is new once.
        #[test]
        fn ranges_that_overlap_are_cut(ranges in prop::collection::vec((0_u64..40, 1_u64..10), 0..80)) {
            let mut tracker = Tracker::new(1, 0, 100);
            let mut reached = 0;
            for (from, length) in ranges {
                tracker.hear(from, from + length, (from, from + length));
                for step in tracker.take() {
                    let (from, to) = step.payload;
                    prop_assert_eq!(step.after, reached);
                    prop_assert_eq!(step.to, to);
                    prop_assert!(from <= step.after && step.after < to);
                    reached = to;
                }
            }
            prop_assert_eq!(tracker.at(), reached);
        }
    }

    #[test]
    fn what_the_log_no_longer_has_is_not_waited_for() {
        let mut tracker = Tracker::new(1, 3, 10);
        assert_eq!(tracker.hear(7, 9, ()), Heard::Hole);
        assert_eq!(tracker.wants(), Some(3));
        tracker.read([], true);
        let steps = tracker.take();
        assert_eq!((steps[0].to, tracker.at()), (9, 9));
        assert_eq!(tracker.wants(), None);
    }

    #[test]
    fn what_was_heard_of_during_a_read_is_read_next() {
        let mut tracker = Tracker::new(1, 0, 10);
        tracker.hear(1, 2, 2);
        assert_eq!(tracker.wants(), Some(0));
        // 3 and 4 are written after the log was read, and 3 is lost live.
        tracker.hear(3, 4, 4);
        tracker.read([(1, 1), (2, 2)], true);
        assert_eq!((tracker.at(), tracker.wants()), (2, Some(2)));
        tracker.last(6);
        tracker.read([(3, 3), (4, 4)], true);
        assert_eq!(tracker.wants(), Some(4), "the log goes on to 6");
        let seen: Vec<u64> = tracker.take().iter().map(|step| step.payload).collect();
        assert_eq!(seen, [1, 2, 3, 4]);
    }

    #[test]
    fn a_burst_behind_a_hole_is_bounded_and_still_complete() {
        let mut tracker = Tracker::new(1, 0, 500);
        let last = 600;
        for seq in 2..=last {
            tracker.hear(seq - 1, seq, seq);
        }
        assert_eq!(tracker.waiting(), 500);
        let all: Vec<u64> = (1..=last).collect();
        let mut seen = 0;
        while let Some(from) = tracker.wants() {
            let (found, complete) = after(&all, from, 100);
            tracker.read(found, complete);
            seen += tracker.take().len() as u64;
        }
        assert_eq!(seen, last);
    }

    #[test]
    fn what_cannot_be_had_is_skipped_and_what_waited_behind_it_follows() {
        let mut tracker = Tracker::new(1, 0, 10);
        tracker.hear(5, 6, 'b');
        tracker.hear(6, 8, 'c');
        tracker.skip(5);
        let taken: String = tracker
            .take()
            .into_iter()
            .map(|step| step.payload)
            .collect();
        assert_eq!((taken.as_str(), tracker.at()), ("bc", 8));
        assert!(!tracker.has_hole());
    }
}
