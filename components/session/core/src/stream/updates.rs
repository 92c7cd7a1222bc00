//! Updates of a stream's comments: a comment that comes behind one is shown with it, and who comes back hears of it.

use std::collections::{BTreeMap, VecDeque};

use chorus_protocol::CommentId;
use chorus_protocol::event::CommentUpdate;
use serde::{Deserialize, Serialize};

/// Updates remembered of one stream; the oldest is forgotten, and a resume from before it asks the logs.
pub(crate) const UPDATES_MAX: usize = 1_000;

/// An update of a region's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Updated {
    /// The comment it is about.
    pub(crate) id: CommentId,
    /// Its own id: of two updates of a comment the one with the greater id counts.
    pub(crate) event: CommentId,
    /// Which of [`super::recent::Recent::logs`] says so.
    pub(crate) log: u16,
    pub(crate) seq: u64,
    pub(crate) update: CommentUpdate,
}

/// What is remembered of a stream's updates, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Updates {
    updates: VecDeque<Updated>,
    /// By comment, each comment's by their own ids.
    #[serde(skip)]
    of: BTreeMap<CommentId, BTreeMap<CommentId, CommentUpdate>>,
}

/// What came of an update that was not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// What of it counts, with what is later.
    pub(crate) update: CommentUpdate,
    /// The one that is forgotten for it.
    pub(crate) forgotten: Option<Updated>,
}

impl Updates {
    /// Remembers an update; `None` when it is known.
    pub(crate) fn insert(&mut self, updated: Updated) -> Option<Remembered> {
        let of = self.of.entry(updated.id).or_default();
        if of.contains_key(&updated.event) {
            return None;
        }
        let later = of.range(updated.event..).map(|(_, &update)| update);
        let update = later.fold(updated.update, CommentUpdate::then);
        of.insert(updated.event, updated.update);
        self.updates.push_back(updated);
        let full = self.updates.len() > UPDATES_MAX;
        let forgotten = full.then(|| self.updates.pop_front()).flatten();
        if let Some(oldest) = forgotten
            && let Some(of) = self.of.get_mut(&oldest.id)
        {
            of.remove(&oldest.event);
            if of.is_empty() {
                self.of.remove(&oldest.id);
            }
        }
        Some(Remembered { update, forgotten })
    }

    /// All that is remembered of a comment, as one.
    pub(crate) fn of(&self, id: CommentId) -> Option<CommentUpdate> {
        // Nearly always there is none.
        let of = self.of.get(&id)?;
        of.values().copied().reduce(CommentUpdate::then)
    }

    /// Each that is remembered of a comment.
    pub(crate) fn about(&self, id: CommentId) -> impl Iterator<Item = &Updated> {
        let any = self.of.contains_key(&id);
        let all = self.updates.iter().filter(move |updated| updated.id == id);
        all.take(if any { UPDATES_MAX } else { 0 })
    }

    /// The updates behind a place: each log's by its sequence there, as [`super::recent::Recent::begins`] gives them.
    pub(crate) fn after(&self, begins: &[Option<u64>]) -> impl Iterator<Item = &Updated> {
        let missed = |updated: &&Updated| {
            let begin = begins.get(usize::from(updated.log)).copied().flatten();
            begin.is_some_and(|begin| updated.seq > begin)
        };
        self.updates.iter().filter(missed)
    }

    /// Each comment's updates as one, by comment.
    pub(crate) fn all(&self) -> impl Iterator<Item = (CommentId, CommentUpdate)> {
        let of = self.of.keys();
        of.filter_map(|&id| Some((id, self.of(id)?)))
    }

    /// Makes what a snapshot leaves out.
    pub(crate) fn restored(&mut self) {
        for updated in &self.updates {
            let of = self.of.entry(updated.id).or_default();
            of.insert(updated.event, updated.update);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updated(id: u64, event: u64, highlighted: bool) -> Updated {
        Updated {
            id: CommentId(id),
            event: CommentId(event),
            log: (event % 2) as u16,
            seq: event,
            update: CommentUpdate {
                highlighted: Some(highlighted),
                pinned: None,
            },
        }
    }

    #[test]
    fn the_later_one_counts_whichever_comes_first() {
        let mut updates = Updates::default();
        let later = updated(1, 9, false);
        assert_eq!(updates.insert(later).expect("new").update, later.update);
        assert_eq!(updates.insert(later), None, "it is known");
        let earlier = updates.insert(updated(1, 4, true)).expect("new");
        assert_eq!(earlier.update, later.update, "the later one still counts");
        assert_eq!(updates.of(CommentId(1)), Some(later.update));
        assert_eq!(updates.of(CommentId(2)), None);
        assert_eq!(updates.about(CommentId(1)).count(), 2);
        let after: Vec<&Updated> = updates.after(&[Some(0), Some(8)]).collect();
        assert_eq!(after, [&later, &updated(1, 4, true)]);
        assert_eq!(updates.after(&[Some(4), None]).count(), 0);
    }

    #[test]
    fn the_oldest_update_is_forgotten_and_a_snapshot_keeps_the_others() {
        let mut updates = Updates::default();
        for event in 0..UPDATES_MAX as u64 {
            let remembered = updates.insert(updated(event % 700, event, true));
            assert_eq!(remembered.expect("new").forgotten, None);
        }
        let remembered = updates.insert(updated(5_000, 5_000, true)).expect("new");
        assert_eq!(remembered.forgotten, Some(updated(0, 0, true)));
        assert!(updates.of(CommentId(0)).is_some(), "by a later one");
        assert_eq!(updates.updates.len(), UPDATES_MAX);
        let bytes = rmp_serde::to_vec_named(&updates).expect("writes");
        let mut read: Updates = rmp_serde::from_slice(&bytes).expect("reads");
        read.restored();
        assert_eq!(read, updates);
    }
}
