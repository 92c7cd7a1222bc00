//! Publications of which nobody knows yet what became of them.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use async_nats::Subject;
use bytes::Bytes;

use crate::log::Waiter;

pub(super) struct Pending {
    pub(super) since: Instant,
    pub(super) waiter: Waiter,
    /// The event, where its coming back live is what shows that it is stored.
    pub(super) event: Option<Publication>,
}

impl Pending {
    /// Whether it publishes an event, with or without an acknowledgement.
    pub(super) fn is_event(&self) -> bool {
        // A question whether it was stored before publishes nothing.
        self.is_of_event() && self.waiter.tag.refusal.is_none()
    }

    fn is_of_event(&self) -> bool {
        self.waiter.tag.id.is_some()
    }
}

/// An event as it was published: whole, to tell it from another one under its key and to publish it again.
#[derive(Clone)]
pub(super) struct Publication {
    pub(super) subject: Subject,
    pub(super) key: u128,
    pub(super) body: Bytes,
}

/// Publications under way, numbered in the order of sending. Most are settled in it, so a queue finds them by their
/// place.
#[derive(Default)]
pub(super) struct Table {
    /// The number of the first in the queue.
    first: u64,
    /// The place of one that was settled before an older one stays, empty; for as long as anything may be under way.
    pending: VecDeque<Option<Pending>>,
    /// The numbers of the comments that are to come back live.
    by_key: HashMap<u128, u64>,
    /// Until when comments are not trusted to come back.
    doubted: Option<Instant>,
    /// The last comment that was published with an acknowledgement asked for: what a log that gave none is tried with.
    pub(super) asked: Option<Publication>,
    /// When it was tried last.
    pub(super) tried: Option<Instant>,
}

impl Table {
    pub(super) fn add(&mut self, pending: Pending) -> u64 {
        let token = self.first + self.pending.len() as u64;
        if let Some(event) = &pending.event {
            self.by_key.insert(event.key, token);
        }
        self.pending.push_back(Some(pending));
        token
    }

    pub(super) fn remove(&mut self, token: u64) -> Option<Pending> {
        let place = self.place(token)?;
        let pending = self.pending.get_mut(place)?.take();
        while let Some(None) = self.pending.front() {
            self.pending.pop_front();
            self.first += 1;
        }
        // Of two tries at the very same moment the later one is looked for; the earlier one comes out unknown.
        if let Some(Pending {
            event: Some(event), ..
        }) = &pending
            && self.by_key.get(&event.key) == Some(&token)
        {
            self.by_key.remove(&event.key);
        }
        pending
    }

    /// Takes the comment that came back, where it is one of these: another one under its key is not.
    pub(super) fn remove_event(&mut self, key: u128, body: &[u8]) -> Option<Pending> {
        let token = *self.by_key.get(&key)?;
        let event = self.get(token)?.event.as_ref()?;
        if event.body != body {
            return None;
        }
        self.remove(token)
    }

    /// Whether a comment is to come back live.
    pub(super) fn looks_for_any(&self) -> bool {
        !self.by_key.is_empty()
    }

    /// Takes the oldest, where it was sent before `then`.
    pub(super) fn pop_late(&mut self, then: Instant) -> Option<Pending> {
        match self.pending.front() {
            Some(Some(oldest)) if oldest.since < then => self.remove(self.first),
            Some(_) | None => None,
        }
    }

    /// Takes the events, and questions about them, that were sent before `then`; what else is under way may take longer.
    pub(super) fn take_late_events(&mut self, then: Instant) -> Vec<Pending> {
        // They are numbered in the order of sending.
        let sent = self.pending.iter().zip(self.first..);
        let before = sent.take_while(|(it, _)| it.as_ref().is_none_or(|it| it.since < then));
        let late: Vec<u64> = before
            .filter(|(it, _)| it.as_ref().is_some_and(Pending::is_of_event))
            .map(|(_, token)| token)
            .collect();
        late.into_iter()
            .filter_map(|token| self.remove(token))
            .collect()
    }

    /// Takes the comments that were sent before `then` and did not come back.
    pub(super) fn take_unproved(&mut self, then: Instant) -> Vec<Pending> {
        let mut late: Vec<u64> = self
            .by_key
            .values()
            .copied()
            .filter(|token| self.get(*token).is_some_and(|it| it.since < then))
            .collect();
        // In the order of sending.
        late.sort_unstable();
        late.into_iter()
            .filter_map(|token| self.remove(token))
            .collect()
    }

    pub(super) fn doubt_until(&mut self, then: Instant) {
        self.doubted = Some(then);
    }

    /// Whether a comment under this key may be expected to come back: others did lately, and of two tries at once one
    /// does not.
    pub(super) fn may_look_for(&self, key: u128) -> bool {
        let doubted = self.doubted.is_some_and(|until| until > Instant::now());
        !doubted && !self.by_key.contains_key(&key)
    }

    fn get(&self, token: u64) -> Option<&Pending> {
        self.pending.get(self.place(token)?)?.as_ref()
    }

    fn place(&self, token: u64) -> Option<usize> {
        usize::try_from(token.checked_sub(self.first)?).ok()
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Pending> + use<> {
        self.first += self.pending.len() as u64;
        self.by_key.clear();
        std::mem::take(&mut self.pending).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::sync::mpsc;

    use super::*;
    use crate::log::Tag;

    fn pending(number: u64, since: Instant) -> Pending {
        let (to, _) = mpsc::unbounded_channel();
        let tag = Tag {
            number,
            ..Tag::default()
        };
        let waiter = Waiter { to, tag };
        let event = None;
        Pending {
            since,
            waiter,
            event,
        }
    }

    fn number(pending: &Pending) -> u64 {
        pending.waiter.tag.number
    }

    proptest! {
        /// Whatever order they are acknowledged in, each is found once, by its own number, as in a map.
        #[test]
        fn a_table_finds_what_a_map_finds(steps in prop::collection::vec((0_u8..12, 0_u64..40), 0..200)) {
            let start = Instant::now();
            let at = |ms: u64| start + Duration::from_millis(ms);
            let mut table = Table::default();
            let mut map = BTreeMap::new();
            for (now, (kind, value)) in (0..).zip(steps) {
                match kind {
                    0..5 => {
                        let token = table.add(pending(now, at(now)));
                        prop_assert!(map.insert(token, now).is_none(), "a token of its own");
                    }
                    5..10 => {
                        let found = table.remove(value).as_ref().map(number);
                        prop_assert_eq!(found, map.remove(&value));
                    }
                    10 => {
                        let then = now.saturating_sub(value);
                        let late: Vec<u64> =
                            std::iter::from_fn(|| table.pop_late(at(then))).map(|late| number(&late)).collect();
                        let expected: Vec<u64> =
                            map.extract_if(.., |_, since| *since < then).map(|(_, since)| since).collect();
                        prop_assert_eq!(late, expected);
                    }
                    _ => {
                        let all: Vec<u64> = table.take_all().map(|lost| number(&lost)).collect();
                        prop_assert_eq!(all, std::mem::take(&mut map).into_values().collect::<Vec<u64>>());
                    }
                }
                let empty = map.is_empty();
                prop_assert_eq!(table.pending.is_empty(), empty, "no place is kept for nothing");
            }
        }
    }

    fn event(key: u128, record: &'static [u8], number: u64, since: Instant) -> Pending {
        let event = Publication {
            subject: "event.dev.0.demo".into(),
            key,
            body: Bytes::from_static(record),
        };
        Pending {
            event: Some(event),
            ..pending(number, since)
        }
    }

    #[test]
    fn a_comment_is_found_by_what_came_back_and_by_nothing_else() {
        let start = Instant::now();
        let later = start + Duration::from_millis(10);
        let mut table = Table::default();
        assert!(!table.looks_for_any());
        table.add(event(7, b"one", 0, start));
        table.add(pending(1, start));
        table.add(event(8, b"two", 2, later));
        assert!(
            table.remove_event(7, b"another try").is_none(),
            "the same key, another record"
        );
        assert!(table.remove_event(9, b"one").is_none());
        let found = table.remove_event(7, b"one");
        assert_eq!(found.as_ref().map(number), Some(0));
        assert!(table.remove_event(7, b"one").is_none(), "only once");

        assert!(
            !table.may_look_for(8),
            "a second try before the first came back"
        );
        assert!(table.may_look_for(7));
        let late = table.take_unproved(later + Duration::from_millis(1));
        assert_eq!(late.iter().map(number).collect::<Vec<_>>(), [2]);
        assert!(!table.looks_for_any());
        table.doubt_until(Instant::now() + Duration::from_secs(60));
        assert!(!table.may_look_for(8), "they did not come back lately");
        table.doubt_until(Instant::now());
        assert!(table.may_look_for(8));
        let left: Vec<u64> = table.take_all().map(|left| number(&left)).collect();
        assert_eq!(left, [1], "what waits for an acknowledgement stays");
    }

    #[test]
    fn of_two_tries_at_once_each_is_settled_once() {
        let start = Instant::now();
        let mut table = Table::default();
        table.add(event(8, b"it", 0, start));
        table.add(event(8, b"it", 1, start));
        let late = start + Duration::from_millis(1);
        assert_eq!(table.pop_late(late).as_ref().map(number), Some(0));
        let found = table.remove_event(8, b"it");
        assert_eq!(found.as_ref().map(number), Some(1));
        assert_eq!(table.take_all().count(), 0);
    }

    #[test]
    fn comments_are_late_by_their_own_time_and_in_their_order() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut table = Table::default();
        for number in 0..20 {
            table.add(event(number.into(), b"it", number, at(number)));
        }
        assert!(table.take_unproved(at(0)).is_empty());
        let late = table.take_unproved(at(12));
        assert_eq!(
            late.iter().map(number).collect::<Vec<_>>(),
            (0..12).collect::<Vec<_>>()
        );
        assert!(table.remove_event(3, b"it").is_none());
        assert!(table.remove_event(12, b"it").is_some());
    }
}
