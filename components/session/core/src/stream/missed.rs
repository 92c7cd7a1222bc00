//! What a viewer missed that was away longer than memory reaches: from the logs, and what was shown since they were asked.

use std::collections::{BTreeMap, BTreeSet};

use chorus_protocol::event::{CommentUpdate, Decision};
use chorus_protocol::{CommentId, CommentView, Envelope, Millis, Position};

use super::decided::{Decided, Told};
use super::live::Live;
use super::recent::Entry;
use super::updates::{Updated, Updates};
use crate::stats::Stats;
use chorus_protocol::session::EventView;

/// An event that the logs brought.
pub(crate) enum Brought<'a> {
    Comment(CommentView<'a>, u64),
    /// With its region and epoch.
    Decision(Decided, &'a str, u64),
}

impl<'a> Brought<'a> {
    /// Reads what the logs brought; what is of no use here is counted.
    pub(crate) fn read(events: &[EventView<'a>], stats: &mut Stats) -> Vec<Self> {
        let mut all = Vec::with_capacity(events.len());
        for event in events {
            let Some(envelope) = Envelope::read(event.body) else {
                stats.deliveries_malformed += 1;
                continue;
            };
            if let Some(comment) = CommentView::read(&envelope) {
                all.push(Self::Comment(comment, event.seq));
            } else if let Some(decided) = Decided::read(&envelope, event.seq) {
                all.push(Self::Decision(decided, event.region, event.epoch));
            } else if envelope.is_comment() {
                stats.deliveries_malformed += 1;
            } else {
                stats.events_unknown += 1;
            }
        }
        all
    }
}

/// All that was missed after a place.
pub(crate) struct Missed {
    /// As they are shown now, by id, each once even if two regions' logs hold it.
    pub(crate) comments: Vec<Entry>,
    pub(crate) removed: Vec<CommentId>,
    /// Of comments that are not among these.
    pub(crate) updated: Vec<(CommentId, CommentUpdate)>,
    /// The removals that the logs brought: who was answered before may not have heard of them.
    pub(crate) again: Told,
    /// What viewers were not told although the comments are here: the decisions lay in a part that was lost.
    pub(crate) lost: Told,
    /// Up to where it is all.
    pub(crate) reached: Position,
    /// Memory reached back to what the logs brought.
    pub(crate) whole: bool,
}

impl Live {
    /// What was missed after `from`: what the logs brought in `(from, to]`, and what was shown since.
    pub(crate) fn missed(
        &mut self,
        (from, to): (&Position, &Position),
        brought: Vec<Brought<'_>>,
        now: Millis,
        stats: &mut Stats,
    ) -> Missed {
        let mut comments: BTreeMap<CommentId, Entry> = BTreeMap::new();
        let mut removed: BTreeSet<CommentId> = BTreeSet::new();
        let mut updates = Updates::default();
        let mut again = Told::default();
        let mut lost = Told::default();
        for event in brought {
            let (decided, region, epoch) = match event {
                Brought::Comment(comment, seq) => {
                    let entry = Entry::new(&comment, (0, seq), now);
                    comments.insert(comment.id, entry);
                    continue;
                }
                Brought::Decision(decided, region, epoch) => (decided, region, epoch),
            };
            match &decided.decision {
                Decision::Removal { target, reason } => {
                    removed.insert(*target);
                    let told = again.removed.entry(reason.clone()).or_default();
                    told.push(*target);
                }
                Decision::Update { target, update } => {
                    updates.insert(Updated {
                        id: *target,
                        event: decided.event,
                        log: 0,
                        seq: decided.seq,
                        update: *update,
                    });
                }
            }
            if let Some(region) = self.region(region) {
                self.learn(decided, (region, epoch), &mut lost, stats);
            }
        }
        removed.extend(self.removed_after(from));
        for updated in self.updated_after(from) {
            updates.insert(updated);
        }
        comments.retain(|&id, _| !removed.contains(&id) && !self.removed.contains(id));
        for (&id, entry) in &mut comments {
            for &updated in self.updates.about(id) {
                updates.insert(updated);
            }
            if let Some(update) = updates.of(id) {
                entry.update(update);
            }
        }
        let whole = self.recent.covers(to, &self.shown);
        if whole {
            let since = self.recent.after(to).into_iter();
            let since = since.filter_map(|i| self.recent.entries.get(i).cloned());
            comments.extend(since.map(|entry| (entry.id, entry)));
        }
        let told = |(id, _): &(CommentId, CommentUpdate)| {
            !comments.contains_key(id) && !removed.contains(id) && !self.removed.contains(*id)
        };
        Missed {
            updated: updates.all().filter(told).collect(),
            comments: comments.into_values().collect(),
            removed: removed.into_iter().collect(),
            again,
            lost,
            reached: if whole { &self.shown } else { to }.clone(),
            whole,
        }
    }

    /// The updates behind a place, each comment's as one, but of those that are shown with them.
    pub(crate) fn told_after(
        &self,
        from: &Position,
        shown: &[CommentId],
    ) -> Vec<(CommentId, CommentUpdate)> {
        let ids: BTreeSet<CommentId> = self.updated_after(from).iter().map(|it| it.id).collect();
        let ids = ids.into_iter().filter(|id| !self.removed.contains(*id));
        let ids = ids.filter(|id| shown.binary_search(id).is_err());
        ids.filter_map(|id| Some((id, self.updates.of(id)?)))
            .collect()
    }
}
