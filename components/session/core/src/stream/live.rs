//! A stream as it stands: what came, what was shown, what is counted.

use std::collections::{BTreeMap, BTreeSet};

use chorus_protocol::backhaul::StreamState;
use chorus_protocol::limits::{Batching, Limits};
use chorus_protocol::server::Reactions;
use chorus_protocol::session::EventView;
use chorus_protocol::stream::{Life, Revision, StreamInfo};
use chorus_protocol::{CommentView, Encoding, Envelope, Millis, Offset, Position, Region, UserId};
use serde::{Deserialize, Serialize};

use super::batch::window_ms;
use super::decided::Decided;
use super::recent::{Entry, Recent};
use super::removed::Removed;
use super::resume::{Ahead, Hole, Job};
use super::updates::Updates;
use crate::encode::{comments_batch, token, write_comment};
use crate::io::{Audience, BlobId, Output, RequestId, TopicId};
use crate::rate::Meter;
use crate::stats::Stats;

/// Bytes of a frame that cost the host about as much as the send itself: copying them into a socket.
const SEND_BYTES: usize = 8 << 10;

/// The newest comments as the host holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    pub(crate) blob: Option<BlobId>,
    /// It is what a viewer would get now.
    pub(crate) fresh: bool,
}

/// A stream that the host told the state of.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Live {
    pub(crate) info: StreamInfo,
    /// The place of `info` in the control log.
    #[serde(default)]
    pub(crate) life_seq: u64,
    /// Up to where deliveries came.
    #[serde(default)]
    pub(crate) known: Position,
    /// Up to where they were shown.
    #[serde(default)]
    pub(crate) shown: Position,
    #[serde(default)]
    pub(crate) recent: Recent,
    /// Came and not shown yet.
    #[serde(default)]
    pub(crate) pending: Vec<Entry>,
    /// The ids of both.
    #[serde(skip)]
    pub(crate) ids: BTreeSet<u64>,
    #[serde(default)]
    pub(crate) removed: Removed,
    /// Since form 5.
    #[serde(default)]
    pub(crate) updates: Updates,
    #[serde(default)]
    pub(crate) flushed: Millis,
    #[serde(default)]
    pub(crate) comments: Meter,
    #[serde(default)]
    pub(crate) comment_count: u64,
    #[serde(default)]
    pub(crate) reactions: Reactions,
    /// Types whose totals changed since they were shown.
    #[serde(default)]
    pub(crate) changed: BTreeSet<String>,
    #[serde(default)]
    pub(crate) reactions_shown: Millis,
    /// Reactions taken here since the host was told, of those whom no limit holds.
    #[serde(default)]
    pub(crate) taken: BTreeMap<String, u64>,
    /// And of the others.
    #[serde(default)]
    pub(crate) taken_by: BTreeMap<UserId, BTreeMap<String, u64>>,
    #[serde(default)]
    pub(crate) taken_told: Millis,
    #[serde(default)]
    pub(crate) viewers: u64,
    #[serde(default)]
    pub(crate) viewers_shown: u64,
    #[serde(default)]
    pub(crate) viewers_shown_at: Millis,
    #[serde(default)]
    pub(crate) kept: [Kept; 2],
    #[serde(default)]
    pub(crate) ahead: Vec<Ahead>,
    #[serde(default)]
    pub(crate) jobs: Vec<Job>,
    #[serde(default)]
    pub(crate) holes: Vec<Hole>,
    /// A part of a log is lost, and the host was asked how the stream stands: until it says so nobody is told anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) lost: bool,
}

/// What a flush needs of its session.
pub(crate) struct Flushing<'a> {
    pub(crate) topic: TopicId,
    pub(crate) stream: &'a str,
    pub(crate) members: [u32; 2],
    pub(crate) now: Millis,
    pub(crate) limits: &'a Limits,
    pub(crate) batching: &'a Batching,
    pub(crate) sends: &'a mut Meter,
    pub(crate) stats: &'a mut Stats,
    pub(crate) out: &'a mut Vec<Output>,
}

impl Live {
    /// The stream as the host says it stands. Of what was known before (`None`: nothing) the decisions still hold.
    pub(crate) fn new(
        state: StreamState,
        before: Option<&mut Self>,
        now: Millis,
        stats: &mut Stats,
    ) -> Self {
        let (removed, updates, logs) = before.map_or_else(Default::default, |before| {
            let logs = std::mem::take(&mut before.recent.logs);
            let removed = std::mem::take(&mut before.removed);
            (removed, std::mem::take(&mut before.updates), logs)
        });
        let mut live = Self {
            info: state.info,
            life_seq: state.life_seq,
            known: state.at.clone(),
            shown: state.at.clone(),
            recent: Recent {
                // The state may hold every comment there is; which were taken away before it only the logs know.
                floor: state.at.clone(),
                logs,
                ..Recent::default()
            },
            removed,
            updates,
            pending: Vec::new(),
            ids: BTreeSet::new(),
            flushed: Millis(0),
            comments: Meter::default(),
            comment_count: state.comment_count,
            reactions: state.reactions,
            changed: BTreeSet::new(),
            reactions_shown: Millis(0),
            taken: BTreeMap::new(),
            taken_by: BTreeMap::new(),
            taken_told: Millis(0),
            viewers: state.viewer_count,
            viewers_shown: state.viewer_count,
            viewers_shown_at: Millis(0),
            kept: [Kept::default(); 2],
            ahead: Vec::new(),
            jobs: Vec::new(),
            holes: Vec::new(),
            lost: false,
        };
        for event in &state.newest {
            let Some(envelope) = event.envelope() else {
                stats.deliveries_malformed += 1;
                continue;
            };
            let log = live.recent.log(&event.region, event.epoch);
            if let Some(decided) = Decided::read(&envelope, event.seq) {
                live.decide_at_once(decided, log, stats);
                continue;
            }
            let Some(comment) = CommentView::read(&envelope) else {
                stats.events_unknown += u64::from(!envelope.is_comment());
                stats.deliveries_malformed += u64::from(envelope.is_comment());
                continue;
            };
            if live.removed.contains(comment.id) {
                // The state was made before its removal.
                live.comment_count = live.comment_count.saturating_sub(1);
            } else if live.ids.insert(comment.id.0) {
                let mut entry = Entry::new(&comment, (log, event.seq), now);
                if let Some(update) = live.updates.of(comment.id) {
                    entry.update(update);
                }
                live.recent.entries.push_back(entry);
            }
        }
        live
    }

    /// What was asked of the logs and is not answered.
    pub(crate) fn asked(&self) -> impl Iterator<Item = RequestId> {
        let jobs = self.jobs.iter().map(|job| job.request);
        jobs.chain(self.holes.iter().map(|hole| hole.request))
    }

    /// Makes what a snapshot leaves out.
    pub(crate) fn restored(&mut self) {
        let entries = self.recent.entries.iter().chain(&self.pending);
        self.ids = entries.map(|entry| entry.id.0).collect();
        self.removed.restored();
        self.updates.restored();
    }

    /// The stream itself, as it was said last.
    pub(crate) fn life(&self) -> Life {
        Life {
            info: self.info.clone(),
            seq: self.life_seq,
        }
    }

    /// Which word on the stream that is.
    pub(crate) fn revision(&self) -> Revision {
        Revision {
            created_at_ms: self.info.created_at_ms,
            seq: self.life_seq,
        }
    }

    /// A region by its name; one that is known costs no allocation.
    pub(crate) fn region(&self, name: &str) -> Option<Region> {
        match self.known.0.get_key_value(name) {
            Some((region, _)) => Some(region.clone()),
            None => Region::new(name).ok(),
        }
    }

    /// Where deliveries of a log stand; a log not heard of before begins at 0, one that was replaced is `None`.
    pub(crate) fn stands(&mut self, region: &Region, epoch: u64) -> Option<u64> {
        match self.known.get(region) {
            Some(known) if known.epoch == epoch => Some(known.seq),
            Some(known) if known.epoch > epoch => None,
            _ => {
                let start = Offset { epoch, seq: 0 };
                self.known.advance(region, start);
                self.recent.floor.advance(region, start);
                Some(0)
            }
        }
    }

    /// Takes an event in for `members` by encoding; a decision goes to `decided`, to be carried out with all of the
    /// delivery ([`Self::decide`]).
    pub(crate) fn take(
        &mut self,
        region: &Region,
        event: &EventView<'_>,
        members: [u32; 2],
        now: Millis,
        stats: &mut Stats,
        decided: &mut Vec<Decided>,
    ) {
        let Some(envelope) = Envelope::read(event.body) else {
            stats.deliveries_malformed += 1;
            return;
        };
        if !envelope.is_comment() {
            match Decided::read(&envelope, event.seq) {
                Some(known) => decided.push(known),
                None => stats.events_unknown += 1,
            }
            return;
        }
        let Some(comment) = CommentView::read(&envelope) else {
            stats.deliveries_malformed += 1;
            return;
        };
        if self.removed.contains(comment.id) {
            if self.removed.came(comment.id) {
                self.comment_count = self.comment_count.saturating_add(1);
            }
            return;
        }
        if !self.ids.insert(comment.id.0) {
            stats.comments_repeated += 1;
            return;
        }
        let log = self.recent.log(region, event.epoch);
        let mut entry = Entry::new(&comment, (log, event.seq), now);
        if let Some(update) = self.updates.of(comment.id) {
            entry.update(update);
        } else if members[Encoding::MsgPack as usize] > 0 {
            // Cheaper now than from the JSON later, if it is wanted at all.
            entry.msgpack = Some(write_comment(&comment, Encoding::MsgPack));
        }
        self.pending.push(entry);
        self.comments.add(now.0, 1);
        self.comment_count = self.comment_count.saturating_add(1);
    }

    /// The host's copies of the newest are no longer what a viewer would get.
    pub(crate) fn stale(&mut self) {
        self.kept.iter_mut().for_each(|kept| kept.fresh = false);
    }

    /// Nothing is missing up to here.
    pub(crate) fn reach(&mut self, region: &Region, epoch: u64, seq: u64) {
        self.known.advance(region, Offset { epoch, seq });
        if self.pending.is_empty() {
            follow(&mut self.shown, &self.known);
        }
    }

    /// When the pending comments are to be shown.
    pub(crate) fn flush_due(
        &mut self,
        now: Millis,
        members: u64,
        batching: &Batching,
        shard_per_s: u64,
    ) -> Option<u64> {
        if self.pending.is_empty() {
            return None;
        }
        let window = window_ms(batching, self.comments.per_s(now.0), members, shard_per_s);
        Some(self.flushed.plus(window).0)
    }

    /// Shows the first `count` of what came.
    pub(crate) fn flush(&mut self, count: usize, flushing: &mut Flushing<'_>) {
        self.flushed = flushing.now;
        if count == 0 || self.pending.is_empty() {
            return;
        }
        let rest = self.pending.split_off(count.min(self.pending.len()));
        let mut batch = std::mem::replace(&mut self.pending, rest);
        batch.sort_by_key(|entry| entry.id);
        let frame_max = match flushing.batching.window_ms_max {
            0 => 1,
            _ => (flushing.batching.comments_max as usize).max(1),
        };
        let before = if batch.len() > frame_max {
            token(&self.shown)
        } else {
            String::new()
        };
        follow(&mut self.shown, &self.known);
        let after = token(&self.shown);
        for encoding in Encoding::ALL {
            if flushing.members[encoding as usize] == 0 {
                continue;
            }
            batch.iter_mut().for_each(|entry| entry.prepare(encoding));
            let mut frames = batch.chunks(frame_max).peekable();
            while let Some(frame) = frames.next() {
                // Who goes away between two frames comes back to before the first.
                let resume = if frames.peek().is_none() {
                    &after
                } else {
                    &before
                };
                let comments = frame.iter().map(|entry| entry.encoded(encoding));
                let data = comments_batch(encoding, flushing.stream, comments, resume);
                let members = u64::from(flushing.members[encoding as usize]);
                let sends = members.saturating_mul(1 + (data.len() / SEND_BYTES) as u64);
                flushing.sends.add(flushing.now.0, sends);
                flushing.out.push(Output::Broadcast {
                    topic: flushing.topic,
                    audience: Audience::Everyone,
                    encoding,
                    data,
                });
            }
        }
        flushing.stats.comments_shown += batch.len() as u64;
        self.recent.entries.extend(batch);
        let ids = &mut self.ids;
        self.recent.trim(
            flushing.now,
            flushing.limits.recent_max,
            flushing.limits.newest_max,
            |id| {
                ids.remove(&id.0);
            },
        );
        self.stale();
    }
}

/// Makes a position another: nearly always of the same logs, which allocates nothing.
fn follow(shown: &mut Position, known: &Position) {
    if shown.0.len() != known.0.len() || !shown.0.keys().eq(known.0.keys()) {
        shown.clone_from(known);
        return;
    }
    for (shown, known) in shown.0.values_mut().zip(known.0.values()) {
        *shown = *known;
    }
}
