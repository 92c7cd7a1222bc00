//! What decisions change of a stream's comments, whichever way they come: delivered, with a new state, or by a replay.

use std::collections::{BTreeMap, BTreeSet};

use chorus_protocol::event::{CommentUpdate, Decision};
use chorus_protocol::server::ServerMessage;
use chorus_protocol::{CommentId, Envelope, Position, Region, StreamId};

use super::live::Live;
use super::recent::Entry;
use super::removed::Removal;
use super::updates::Updated;
use crate::stats::Stats;

/// A decision as its event says it.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    /// The event's id.
    pub(crate) event: CommentId,
    pub(crate) seq: u64,
    pub(crate) decision: Decision,
}

impl Decided {
    /// The decision of an event; `None` when it is none that is known.
    pub(crate) fn read(envelope: &Envelope<'_>, seq: u64) -> Option<Self> {
        let decision = envelope.decision()?;
        Some(Self {
            event: envelope.id,
            seq,
            decision,
        })
    }
}

/// What viewers are to be told of decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// By reason.
    pub(crate) removed: BTreeMap<String, Vec<CommentId>>,
    /// In the order of the events.
    pub(crate) updated: Vec<(CommentId, CommentUpdate)>,
}

impl Told {
    pub(crate) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.updated.is_empty()
    }

    /// What viewers are told.
    pub(crate) fn messages(self, stream: &StreamId) -> impl Iterator<Item = ServerMessage> {
        let removed = self.removed.into_iter().map(move |(reason, comment_ids)| {
            ServerMessage::CommentsRemoved {
                stream_id: stream.clone(),
                comment_ids,
                reason,
            }
        });
        let updated = self.updated.into_iter().map(move |(comment_id, update)| {
            ServerMessage::CommentUpdated {
                stream_id: stream.clone(),
                comment_id,
                update,
            }
        });
        removed.chain(updated)
    }
}

impl Live {
    /// Carries out decisions of a log. Of the first `early` pending comments says how many are left; a comment that is
    /// pending is shown as it was decided, and nothing is told of its updates.
    pub(crate) fn decide(
        &mut self,
        (region, epoch): (&Region, u64),
        decided: Vec<Decided>,
        early: usize,
        stats: &mut Stats,
    ) -> (usize, Told) {
        let log = self.recent.log(region, epoch);
        let mut told = Told::default();
        let mut here_any = false;
        for Decided {
            event,
            seq,
            decision,
        } in decided
        {
            match decision {
                Decision::Removal { target, reason } => {
                    if self.removed.contains(target) {
                        continue;
                    }
                    here_any |= self.take_away(target, log, seq, stats);
                    told.removed.entry(reason).or_default().push(target);
                }
                Decision::Update { target, update } => {
                    let updated = Updated {
                        id: target,
                        event,
                        log,
                        seq,
                        update,
                    };
                    self.tell_update(updated, &mut told, stats);
                }
            }
        }
        told.updated.retain(|&(id, _)| !self.removed.contains(id));
        if !here_any {
            return (early, told);
        }
        let removed = &self.removed;
        let stays = |entry: &Entry| !removed.contains(entry.id);
        let early = self.pending.iter().take(early).filter(|entry| stays(entry));
        let early = early.count();
        self.sweep();
        (early, told)
    }

    /// Takes in a decision that stands behind the comments of a new state.
    pub(crate) fn decide_at_once(&mut self, decided: Decided, log: u16, stats: &mut Stats) {
        let Decided {
            event,
            seq,
            decision,
        } = decided;
        match decision {
            Decision::Removal { target, .. } => {
                // The state's count is without it.
                let here = self.ids.remove(&target.0);
                self.recent.entries.retain(|entry| entry.id != target);
                let awaited = !here && self.comment_count > 0;
                self.remember_removal(target, log, seq, awaited, stats);
            }
            Decision::Update { target, update } => {
                let updated = Updated {
                    id: target,
                    event,
                    log,
                    seq,
                    update,
                };
                self.update(updated, stats);
            }
        }
    }

    /// Takes in a decision that only the logs knew, where its comment is here: says so to all who may show it. Of others
    /// removals are remembered.
    pub(crate) fn learn(
        &mut self,
        decided: Decided,
        (region, epoch): (Region, u64),
        told: &mut Told,
        stats: &mut Stats,
    ) {
        let log = self.recent.log(&region, epoch);
        let Decided {
            event,
            seq,
            decision,
        } = decided;
        match decision {
            Decision::Removal { target, .. } if self.removed.contains(target) => {}
            Decision::Removal { target, reason } => {
                let here = self.ids.remove(&target.0);
                self.remember_removal(target, log, seq, false, stats);
                if here {
                    self.comment_count = self.comment_count.saturating_sub(1);
                    stats.comments_removed += 1;
                    self.sweep();
                    told.removed.entry(reason).or_default().push(target);
                }
            }
            Decision::Update { target, .. } if !self.ids.contains(&target.0) => {}
            Decision::Update { target, update } => {
                let updated = Updated {
                    id: target,
                    event,
                    log,
                    seq,
                    update,
                };
                self.tell_update(updated, told, stats);
            }
        }
    }

    /// Counts and remembers a removal; says whether its comment is here.
    fn take_away(&mut self, id: CommentId, log: u16, seq: u64, stats: &mut Stats) -> bool {
        let here = self.ids.remove(&id.0);
        // Of a comment that overtakes nothing is counted yet: its own count makes up for this, unless there is nothing to
        // take from.
        let awaited = !here && self.comment_count > 0;
        self.comment_count = self.comment_count.saturating_sub(1);
        self.remember_removal(id, log, seq, awaited, stats);
        stats.comments_removed += 1;
        here
    }

    fn remember_removal(
        &mut self,
        id: CommentId,
        log: u16,
        seq: u64,
        awaited: bool,
        stats: &mut Stats,
    ) {
        let removal = Removal {
            id,
            log,
            seq,
            awaited,
        };
        if let Some(oldest) = self.removed.insert(removal) {
            stats.decisions_forgotten += 1;
            self.recent.forget(oldest.log, oldest.seq);
        }
    }

    /// Remembers an update and changes its comment, if that is here; says what of it counts, or nothing when it is known.
    fn update(&mut self, updated: Updated, stats: &mut Stats) -> Option<CommentUpdate> {
        let id = updated.id;
        if self.removed.contains(id) {
            return None;
        }
        let remembered = self.updates.insert(updated)?;
        stats.comments_updated += 1;
        if let Some(oldest) = remembered.forgotten {
            stats.decisions_forgotten += 1;
            self.recent.forget(oldest.log, oldest.seq);
        }
        if self.ids.contains(&id.0) {
            let entries = self.pending.iter_mut().chain(&mut self.recent.entries);
            for entry in entries.filter(|entry| entry.id == id) {
                entry.update(remembered.update);
            }
            self.stale();
        }
        Some(remembered.update)
    }

    /// The same, and tells of what counts where the comment may be shown already.
    fn tell_update(&mut self, updated: Updated, told: &mut Told, stats: &mut Stats) {
        let id = updated.id;
        let shown = !self.is_pending(id);
        let counts = self.update(updated, stats).filter(|_| shown);
        told.updated.extend(counts.map(|update| (id, update)));
    }

    fn is_pending(&self, id: CommentId) -> bool {
        self.pending.iter().any(|entry| entry.id == id)
    }

    /// Drops the comments that were taken away.
    fn sweep(&mut self) {
        let removed = &self.removed;
        self.pending.retain(|entry| !removed.contains(entry.id));
        self.recent
            .entries
            .retain(|entry| !removed.contains(entry.id));
        self.stale();
    }

    /// The ids of the comments taken away after a place, rising.
    pub(crate) fn removed_after(&self, from: &Position) -> BTreeSet<CommentId> {
        self.removed.after(&self.recent.begins(from)).collect()
    }

    /// The updates behind a place.
    pub(crate) fn updated_after(&self, from: &Position) -> Vec<Updated> {
        let begins = self.recent.begins(from);
        self.updates.after(&begins).copied().collect()
    }
}
