//! The newest comments of a stream, and the decisions about them, as the log brought them.

use std::collections::{BTreeMap, HashSet, VecDeque};

use chorus_protocol::backhaul::REMOVALS_AHEAD_MAX;
use chorus_protocol::event::Removed;
use chorus_protocol::{CommentId, Event};

/// Ids of events remembered, of one stream; a copy that comes later is counted again until the next start.
const LATELY_MAX: usize = 4_096;

/// In the order of the log, twice as many as are asked for: ids may be in another order, and some may be taken away.
pub(super) struct Newest {
    comments: VecDeque<(CommentId, Event)>,
    /// By the comment and the kind.
    decisions: BTreeMap<(CommentId, String), Event>,
    /// Removals of comments that are not here, in the order in which they came: a comment of another region may come
    /// behind its removal, and whoever takes the state between the two must know.
    ahead: VecDeque<(CommentId, Event)>,
    removed: Removed,
    /// What came lately: an event that two regions' logs have counts once.
    seen: Lately,
    max: usize,
}

/// Ids that came lately.
#[derive(Default)]
struct Lately {
    ids: HashSet<CommentId>,
    order: VecDeque<CommentId>,
}

impl Lately {
    /// Remembers an id; false when it came before.
    fn insert(&mut self, id: CommentId) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > LATELY_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

impl Newest {
    /// `comments` are newest first.
    pub(super) fn new(
        max: usize,
        comments: Vec<(CommentId, Event)>,
        decisions: Vec<Event>,
    ) -> Self {
        let mut seen = Lately::default();
        for (id, _) in comments.iter().rev() {
            seen.insert(*id);
        }
        let mut newest = Self {
            seen,
            comments: comments.into_iter().rev().collect(),
            decisions: BTreeMap::new(),
            ahead: VecDeque::new(),
            removed: Removed::default(),
            max,
        };
        for event in decisions {
            newest.take(event);
        }
        newest
    }

    /// Takes an event in: by how much the number of comments changes.
    pub(super) fn take(&mut self, event: Event) -> i64 {
        let Some(envelope) = event.envelope() else {
            return 0;
        };
        let id = envelope.id;
        if !self.seen.insert(id) {
            return 0;
        }
        if envelope.is_comment() {
            // A post whose acknowledgement did not come in time is sent to another region's log, too.
            if self.comments.iter().any(|(known, _)| *known == id) {
                return 0;
            }
            if self.removed.contains(id) {
                self.ahead.retain(|(of, _)| *of != id);
            } else {
                self.comments.push_back((id, event));
                if self.comments.len() > 2 * self.max {
                    self.forget_oldest();
                }
            }
            return 1;
        }
        if let Some(target) = envelope.removes() {
            let before = self.comments.len();
            self.comments.retain(|(id, _)| *id != target);
            if self.comments.len() == before && !self.removed.contains(target) {
                self.ahead.push_back((target, event));
                if self.ahead.len() > REMOVALS_AHEAD_MAX {
                    self.ahead.pop_front();
                }
            }
            self.decisions.retain(|(of, _), _| *of != target);
            // Two regions' logs may have taken a removal each.
            let again = self.removed.contains(target);
            self.removed.insert(target);
            return if again { 0 } else { -1 };
        }
        if let Some(target) = envelope.target
            && self.comments.iter().any(|(id, _)| *id == target)
        {
            let key = (target, envelope.kind.to_owned());
            self.decisions.insert(key, event);
        }
        0
    }

    fn forget_oldest(&mut self) {
        if let Some((oldest, _)) = self.comments.pop_front()
            && !self.decisions.is_empty()
        {
            self.decisions.retain(|(of, _), _| *of != oldest);
        }
    }

    /// The newest by their ids, oldest first, then the decisions about them, then the removals of comments that may come.
    pub(super) fn events(&self) -> Vec<Event> {
        let by_id: BTreeMap<CommentId, &Event> = self
            .comments
            .iter()
            .map(|(id, event)| (*id, event))
            .collect();
        let older = by_id.len().saturating_sub(self.max);
        let shown: Vec<(CommentId, &Event)> = by_id.into_iter().skip(older).collect();
        let first = shown.first().map(|(id, _)| *id);
        let decisions = self.decisions.iter();
        let decisions = decisions.filter(|((of, _), _)| Some(*of) >= first);
        let comments = shown.into_iter().map(|(_, event)| event);
        comments
            .chain(decisions.map(|(_, event)| event))
            .chain(self.ahead.iter().map(|(_, event)| event))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use chorus_protocol::event::{AuthorRole, kind};
    use chorus_protocol::{CommentRecord, Envelope, Millis};

    use super::*;

    fn event(id: u64, kind: &str, target: Option<u64>) -> Event {
        let envelope = Envelope {
            id: CommentId(id),
            kind,
            stream: "demo",
            author: "ann",
            role: AuthorRole::User,
            key: id.into(),
            target: target.map(CommentId),
            record: b"",
        };
        let record = CommentRecord {
            username: "Ann".to_owned(),
            content: "hi".to_owned(),
            created_at_ms: Millis(1),
            parent_id: None,
            mentions: vec![],
            media_ms: None,
            badges: vec![],
        };
        Event {
            region: "dev".parse().expect("a region"),
            epoch: 1,
            seq: id,
            body: envelope.write_record(&record),
        }
    }

    fn ids(newest: &Newest) -> Vec<u64> {
        let ids = newest.events().into_iter();
        ids.map(|event| event.envelope().map_or(0, |it| it.id.0))
            .collect()
    }

    #[test]
    fn a_comment_that_two_regions_logs_hold_is_there_and_counts_once() {
        let mut newest = Newest::new(3, vec![], vec![]);
        assert_eq!(newest.take(event(1, kind::COMMENT, None)), 1);
        let mut again = event(1, kind::COMMENT, None);
        again.region = "other".parse().expect("a region");
        assert_eq!(newest.take(again), 0);
        assert_eq!(ids(&newest), [1]);
    }

    #[test]
    fn what_was_taken_away_is_not_there_whenever_it_comes() {
        let mut newest = Newest::new(3, vec![], vec![]);
        for id in 1..=5 {
            assert_eq!(newest.take(event(id, kind::COMMENT, None)), 1);
        }
        assert_eq!(ids(&newest), [3, 4, 5]);
        newest.take(event(6, "applause", Some(4)));
        newest.take(event(7, "applause", Some(1)));
        assert_eq!(ids(&newest), [3, 4, 5, 6], "with what stands about them");
        assert_eq!(newest.take(event(8, kind::REMOVAL, Some(4))), -1);
        assert_eq!(ids(&newest), [2, 3, 5]);
        assert_eq!(newest.take(event(9, kind::REMOVAL, Some(10))), -1);
        assert_eq!(ids(&newest), [2, 3, 5, 9], "its comment may come");
        assert_eq!(newest.take(event(10, kind::COMMENT, None)), 1);
        assert_eq!(ids(&newest), [2, 3, 5], "the removal came first");
    }

    #[test]
    fn what_two_logs_have_counts_once_and_takes_one_place() {
        let mut newest = Newest::new(2, Vec::new(), Vec::new());
        let taken = [
            newest.take(event(1, kind::COMMENT, None)),
            newest.take(event(1, kind::COMMENT, None)),
            newest.take(event(2, kind::COMMENT, None)),
            newest.take(event(3, kind::REMOVAL, Some(2))),
            newest.take(event(3, kind::REMOVAL, Some(2))),
            newest.take(event(4, kind::REMOVAL, Some(2))),
            newest.take(event(2, kind::COMMENT, None)),
        ];
        assert_eq!(taken, [1, 0, 1, -1, 0, 0, 0]);
        assert_eq!(ids(&newest), [1]);
    }
}
