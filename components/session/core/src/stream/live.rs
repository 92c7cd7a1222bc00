//! A stream as it stands: what came, what was shown, what is counted.

use std::collections::{BTreeMap, BTreeSet};

use chorus_protocol::backhaul::{ItemKind, StreamState};
use chorus_protocol::limits::{Batching, Limits};
use chorus_protocol::server::Reactions;
use chorus_protocol::stream::StreamInfo;
use chorus_protocol::subject::is_reaction_type;
use chorus_protocol::{Encoding, Millis, Offset, Position, Region};
use serde::{Deserialize, Serialize};

use super::batch::window_ms;
use super::recent::{Entry, Recent};
use super::resume::{Ahead, Hole, Job};
use crate::encode::{comments_batch, record_to_json};
use crate::io::{Audience, BlobId, Output, TopicId};
use crate::rate::Meter;
use crate::stats::Stats;

/// Reaction types of one stream at the most; others are not counted.
const REACTION_TYPES_MAX: usize = 64;

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
    /// Reactions taken here since the host was told.
    #[serde(default)]
    pub(crate) taken: BTreeMap<String, u64>,
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
}

/// A `Delivery` without a copy of its texts.
#[derive(Deserialize)]
pub(crate) struct DeliveryView<'a> {
    pub(crate) region: &'a str,
    pub(crate) epoch: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    #[serde(borrow)]
    pub(crate) items: Vec<ItemView<'a>>,
}

/// An `Item` without a copy of its texts.
#[derive(Deserialize)]
pub(crate) struct ItemView<'a> {
    pub(crate) region: &'a str,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) kind: ItemKind,
    #[serde(borrow, with = "serde_bytes")]
    pub(crate) record: &'a [u8],
}

/// What a flush needs of its session.
pub(crate) struct Flushing<'a> {
    pub(crate) topic: TopicId,
    pub(crate) stream: &'a str,
    pub(crate) members: [u32; 2],
    pub(crate) now: Millis,
    pub(crate) limits: &'a Limits,
    pub(crate) batching: &'a Batching,
    pub(crate) deliveries: &'a mut Meter,
    pub(crate) stats: &'a mut Stats,
    pub(crate) out: &'a mut Vec<Output>,
}

impl Live {
    pub(crate) fn new(state: StreamState, now: Millis, stats: &mut Stats) -> Self {
        let whole = state.comment_count == state.newest.len() as u64;
        let mut floor = state.at.clone();
        if whole {
            floor.0.values_mut().for_each(|offset| offset.seq = 0);
        }
        let mut live = Self {
            info: state.info,
            known: state.at.clone(),
            shown: state.at,
            recent: Recent {
                floor,
                ..Recent::default()
            },
            pending: Vec::new(),
            ids: BTreeSet::new(),
            flushed: Millis(0),
            comments: Meter::default(),
            comment_count: state.comment_count,
            reactions: state.reactions,
            changed: BTreeSet::new(),
            reactions_shown: Millis(0),
            taken: BTreeMap::new(),
            taken_told: Millis(0),
            viewers: state.viewer_count,
            viewers_shown: state.viewer_count,
            viewers_shown_at: Millis(0),
            kept: [Kept::default(); 2],
            ahead: Vec::new(),
            jobs: Vec::new(),
            holes: Vec::new(),
        };
        for item in &state.newest {
            let Some((id, json)) = record_to_json(&item.record) else {
                stats.deliveries_malformed += 1;
                continue;
            };
            if live.ids.insert(id.0) {
                let log = live.recent.log(&item.region, item.epoch);
                let entry = Entry {
                    id,
                    log,
                    seq: item.seq,
                    at: now,
                    json,
                    msgpack: None,
                };
                live.recent.entries.push_back(entry);
            }
        }
        live
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

    /// Takes an item in; says whether it is a comment not seen before.
    pub(crate) fn take(
        &mut self,
        region: &Region,
        item: &ItemView<'_>,
        now: Millis,
        stats: &mut Stats,
    ) -> bool {
        match item.kind {
            ItemKind::Comment => {}
        }
        let Some((id, json)) = record_to_json(item.record) else {
            stats.deliveries_malformed += 1;
            return false;
        };
        if !self.ids.insert(id.0) {
            stats.comments_repeated += 1;
            return false;
        }
        let log = self.recent.log(region, item.epoch);
        self.pending.push(Entry {
            id,
            log,
            seq: item.seq,
            at: now,
            json,
            msgpack: None,
        });
        self.comments.add(now.0, 1);
        self.comment_count = self.comment_count.saturating_add(1);
        true
    }

    /// Nothing is missing up to here.
    pub(crate) fn reach(&mut self, region: &Region, epoch: u64, seq: u64) {
        self.known.advance(region, Offset { epoch, seq });
        if self.pending.is_empty() {
            self.shown.clone_from(&self.known);
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

    /// Shows what came.
    pub(crate) fn flush(&mut self, flushing: &mut Flushing<'_>) {
        self.flushed = flushing.now;
        if self.pending.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.pending);
        batch.sort_by_key(|entry| entry.id);
        let before = std::mem::replace(&mut self.shown, self.known.clone());
        let after = self.shown.to_token();
        let frame_max = match flushing.batching.window_ms_max {
            0 => 1,
            _ => (flushing.batching.comments_max as usize).max(1),
        };
        let before = if batch.len() > frame_max {
            before.to_token()
        } else {
            String::new()
        };
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
                flushing.out.push(Output::Broadcast {
                    topic: flushing.topic,
                    audience: Audience::Everyone,
                    encoding,
                    data: comments_batch(encoding, flushing.stream, comments, resume),
                });
            }
        }
        let members = u64::from(flushing.members[0]) + u64::from(flushing.members[1]);
        let count = batch.len() as u64;
        flushing
            .deliveries
            .add(flushing.now.0, count.saturating_mul(members));
        flushing.stats.comments_shown += count;
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
        self.kept.iter_mut().for_each(|kept| kept.fresh = false);
    }

    /// Takes totals of the host.
    pub(crate) fn count(&mut self, reactions: Vec<(String, u64)>, viewers: Option<u64>) {
        for (kind, total) in reactions {
            let known = self.reactions.get(&kind).copied();
            if known == Some(total) || !is_reaction_type(&kind) {
                continue;
            }
            if known.is_none() && self.reactions.len() >= REACTION_TYPES_MAX {
                continue;
            }
            self.changed.insert(kind.clone());
            self.reactions.insert(kind, total);
        }
        if let Some(viewers) = viewers {
            self.viewers = viewers;
        }
    }
}
