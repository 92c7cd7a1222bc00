//! Comments of a stream that were taken away: they are not shown whenever they come, and who comes back hears of them.

use std::collections::{BTreeSet, VecDeque};

use chorus_protocol::CommentId;
use serde::{Deserialize, Serialize};

/// Removals remembered of one stream; the oldest is forgotten, and a resume from before it asks the logs.
pub(crate) const REMOVED_MAX: usize = 10_000;

/// A removal of a region's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removal {
    /// The comment that is taken away.
    pub(crate) id: CommentId,
    /// Which of [`super::recent::Recent::logs`] says so.
    pub(crate) log: u16,
    pub(crate) seq: u64,
    /// The comment was not here, so it may still come: then it is counted, as the removal was.
    #[serde(default)]
    pub(crate) awaited: bool,
}

/// What is remembered of a stream's removals, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Removed {
    removals: VecDeque<Removal>,
    #[serde(skip)]
    ids: BTreeSet<u64>,
}

impl Removed {
    /// Whether a comment was taken away.
    pub(crate) fn contains(&self, id: CommentId) -> bool {
        // Nearly always there is none.
        !self.ids.is_empty() && self.ids.contains(&id.0)
    }

    /// Remembers a removal; gives back the one that is forgotten for it.
    pub(crate) fn insert(&mut self, removal: Removal) -> Option<Removal> {
        if !self.ids.insert(removal.id.0) {
            return None;
        }
        self.removals.push_back(removal);
        if self.removals.len() <= REMOVED_MAX {
            return None;
        }
        let oldest = self.removals.pop_front()?;
        self.ids.remove(&oldest.id.0);
        Some(oldest)
    }

    /// A comment that was taken away has come; says whether it was awaited.
    pub(crate) fn came(&mut self, id: CommentId) -> bool {
        let mut newest_first = self.removals.iter_mut().rev();
        let removal = newest_first.find(|removal| removal.id == id);
        removal.is_some_and(|removal| std::mem::take(&mut removal.awaited))
    }

    /// The comments taken away behind a place: each log's by its sequence there, as [`super::recent::Recent::begins`]
    /// gives them.
    pub(crate) fn after(&self, begins: &[Option<u64>]) -> impl Iterator<Item = CommentId> {
        let missed = |removal: &&Removal| {
            let begin = begins.get(usize::from(removal.log)).copied().flatten();
            begin.is_some_and(|begin| removal.seq > begin)
        };
        self.removals
            .iter()
            .filter(missed)
            .map(|removal| removal.id)
    }

    /// Makes what a snapshot leaves out.
    pub(crate) fn restored(&mut self) {
        self.ids = self.removals.iter().map(|removal| removal.id.0).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removal(id: u64) -> Removal {
        Removal {
            id: CommentId(id),
            log: (id % 2) as u16,
            seq: id,
            awaited: id.is_multiple_of(3),
        }
    }

    #[test]
    fn the_oldest_removal_is_forgotten() {
        let mut removed = Removed::default();
        for id in 0..REMOVED_MAX as u64 {
            assert_eq!(removed.insert(removal(id)), None);
        }
        assert_eq!(removed.insert(removal(7)), None, "it is known");
        assert_eq!(removed.insert(removal(1 << 40)), Some(removal(0)));
        assert!(!removed.contains(CommentId(0)));
        assert!(removed.contains(CommentId(1)) && removed.contains(CommentId(1 << 40)));
        assert_eq!(removed.removals.len(), REMOVED_MAX);
    }

    #[test]
    fn what_lies_behind_a_place_is_told_and_a_comment_is_awaited_once() {
        let mut removed = Removed::default();
        for id in 1..=9 {
            removed.insert(removal(id));
        }
        let after =
            |begins: &[Option<u64>]| -> Vec<u64> { removed.after(begins).map(|id| id.0).collect() };
        assert_eq!(after(&[Some(4), Some(7)]), [6, 8, 9]);
        assert_eq!(after(&[None, Some(7)]), [9]);
        assert_eq!(after(&[Some(6)]), [8]);
        assert!(removed.came(CommentId(3)));
        assert!(!removed.came(CommentId(3)) && !removed.came(CommentId(4)));
        let bytes = rmp_serde::to_vec_named(&removed).expect("writes");
        let mut read: Removed = rmp_serde::from_slice(&bytes).expect("reads");
        read.restored();
        assert_eq!(read, removed);
    }
}
