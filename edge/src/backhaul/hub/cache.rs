//! The recent events of one stream: what answers a later subscription and a replay without asking the gateway.

use std::collections::{BTreeSet, HashSet, VecDeque};

use chorus_protocol::backhaul::{REMOVALS_AHEAD_MAX, StreamState};
use chorus_protocol::event::Removed;
use chorus_protocol::session::{DeliveryView, ReplayRange, Replayed};
use chorus_protocol::stream::{Life, Revision};
use chorus_protocol::{CommentId, Envelope, Event, Offset, Position, Region};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheBounds {
    pub(super) events_max: usize,
    pub(super) bytes_max: usize,
    pub(super) newest_max: usize,
}

/// What an event is to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Comment,
    /// Takes this comment away.
    Removal(CommentId),
    /// A decision of another kind about this comment.
    Decision(CommentId),
    /// Of a later version.
    Other,
}

/// An event, its envelope read once.
#[derive(Debug)]
struct Kept {
    region: Region,
    at: Offset,
    /// A copy: a slice of what came over a lane would keep all the packets alive that came with it.
    body: Box<[u8]>,
    id: CommentId,
    what: What,
}

impl Kept {
    /// `None` when its body is none of an event.
    fn read(region: &Region, at: Offset, body: &[u8]) -> Option<Self> {
        let envelope = Envelope::read(body)?;
        let what = match (envelope.is_comment(), envelope.removes(), envelope.target) {
            (true, ..) => What::Comment,
            (_, Some(target), _) => What::Removal(target),
            (_, _, Some(target)) => What::Decision(target),
            (false, None, None) => What::Other,
        };
        Some(Self {
            region: region.clone(),
            at,
            id: envelope.id,
            what,
            body: body.into(),
        })
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.body.len()
    }

    fn event(&self) -> Event {
        Event {
            region: self.region.clone(),
            epoch: self.at.epoch,
            seq: self.at.seq,
            body: self.body.to_vec(),
        }
    }
}

/// A stream's state at a position, and the events that led there.
#[derive(Debug)]
pub(super) struct Known {
    /// The state but for `at`, `newest` and the counts that move on: those are of now.
    state: StreamState,
    events: VecDeque<Kept>,
    /// Theirs: an event that two regions' logs have counts once.
    ids: HashSet<CommentId>,
    removed: Removed,
    bytes: usize,
    /// All events after this and up to the state's position are in `events`.
    floor: Position,
    bounds: CacheBounds,
}

impl Known {
    /// `removed` is what was known before of the same stream.
    pub(super) fn new(mut state: StreamState, mut removed: Removed, bounds: CacheBounds) -> Self {
        let newest = std::mem::take(&mut state.newest);
        let read = |event: &Event| {
            let (epoch, seq) = (event.epoch, event.seq);
            Kept::read(&event.region, Offset { epoch, seq }, &event.body)
        };
        let events: VecDeque<Kept> = newest.iter().filter_map(read).collect();
        let mut floor = state.at.clone();
        for kept in &events {
            if let What::Removal(target) = kept.what {
                removed.insert(target);
            }
            // Of a region whose place is not known all is delivered from its beginning, these too.
            let last = |floor: Offset| (floor.epoch, floor.seq) < (kept.at.epoch, kept.at.seq);
            if state.at.get(&kept.region).is_none() && floor.get(&kept.region).is_none_or(last) {
                floor.0.insert(kept.region.clone(), kept.at);
            }
        }
        let mut known = Self {
            floor,
            bytes: events.iter().map(Kept::bytes).sum(),
            ids: events.iter().map(|kept| kept.id).collect(),
            events,
            removed,
            state,
            bounds,
        };
        known.trim();
        known
    }

    pub(super) fn at(&self) -> &Position {
        &self.state.at
    }

    /// What was taken away, for the one that comes after this.
    pub(super) fn into_removed(self) -> Removed {
        self.removed
    }

    /// The stream itself.
    pub(super) fn life(&self) -> Life {
        self.state.life()
    }

    /// Which word on the stream that is.
    pub(super) fn revision(&self) -> Revision {
        self.state.revision()
    }

    /// Takes a newer word on the stream in; true when it was one.
    pub(super) fn take_life(&mut self, life: &Life) -> bool {
        self.state.take_life(life)
    }

    /// Takes a delivery in that follows.
    pub(super) fn take(&mut self, region: &Region, delivery: &DeliveryView<'_>) {
        let epoch = delivery.epoch;
        // Up to here the state brought what it shows, also of a region whose place it did not know.
        let shown = match self.floor.get(region) {
            Some(floor) if floor.epoch == epoch => floor.seq,
            Some(_) => {
                let seq = delivery.from;
                self.floor.0.insert(region.clone(), Offset { epoch, seq });
                seq
            }
            None => 0,
        };
        for event in &delivery.events {
            let at = Offset {
                epoch,
                seq: event.seq,
            };
            let Some(kept) = Kept::read(region, at, event.body) else {
                // A replay over it is asked of the gateway.
                self.forget_up_to(region, at);
                continue;
            };
            if let What::Removal(target) = kept.what {
                self.removed.insert(target);
            }
            if at.seq <= shown {
                continue;
            }
            let count = &mut self.state.comment_count;
            match kept.what {
                _ if !self.ids.insert(kept.id) => {}
                // Two regions' logs may have taken a removal each.
                What::Removal(_) if self.events.iter().any(|it| it.what == kept.what) => {}
                What::Comment => *count = count.saturating_add(1),
                What::Removal(_) => *count = count.saturating_sub(1),
                What::Decision(_) | What::Other => {}
            }
            self.bytes += kept.bytes();
            self.events.push_back(kept);
        }
        let to = Offset {
            epoch,
            seq: delivery.to,
        };
        self.state.at.advance(region, to);
        self.trim();
    }

    fn trim(&mut self) {
        while self.events.len() > self.bounds.events_max || self.bytes > self.bounds.bytes_max {
            let Some(kept) = self.events.pop_front() else {
                break;
            };
            self.bytes -= kept.bytes();
            self.ids.remove(&kept.id);
            self.forget_up_to(&kept.region, kept.at);
        }
    }

    fn forget_up_to(&mut self, region: &Region, to: Offset) {
        let floor = self.floor.get(region);
        // What `newest` brought lies below the floor already.
        if floor.is_none_or(|floor| floor.epoch == to.epoch && floor.seq < to.seq) {
            self.floor.advance(region, to);
        }
    }

    /// Takes running totals in.
    pub(super) fn totals(
        &mut self,
        reactions: &chorus_protocol::server::Reactions,
        viewers: Option<u64>,
    ) {
        for (name, total) in reactions {
            self.state.reactions.insert(name.clone(), *total);
        }
        self.state.viewer_count = viewers.unwrap_or(self.state.viewer_count);
    }

    /// The stream as it stands now, with the newest comments that were not taken away, the decisions about them and the
    /// removals of comments that are not here: one of another region may come behind its removal. The deliveries from now
    /// on continue it.
    pub(super) fn state(&self) -> StreamState {
        let shown = |kept: &&Kept| kept.what == What::Comment && !self.removed.contains(kept.id);
        let mut newest: Vec<&Kept> = self
            .events
            .iter()
            .rev()
            .filter(shown)
            // Several regions' logs come in another order than their ids.
            .take(self.bounds.newest_max.saturating_mul(2))
            .collect();
        newest.sort_by_key(|kept| kept.id);
        newest.dedup_by_key(|kept| kept.id);
        newest.drain(..newest.len().saturating_sub(self.bounds.newest_max));
        let decided = |kept: &&Kept| match kept.what {
            What::Decision(target) => newest.binary_search_by_key(&target, |it| it.id).is_ok(),
            What::Comment | What::Removal(_) | What::Other => false,
        };
        let decisions = self.events.iter().filter(decided);
        let removes = |kept: &Kept| match kept.what {
            What::Removal(target) => Some(target),
            What::Comment | What::Decision(_) | What::Other => None,
        };
        // Mostly there is none.
        let mut missing: BTreeSet<CommentId> = self.events.iter().filter_map(removes).collect();
        for comment in self.events.iter().filter(|it| it.what == What::Comment) {
            missing.remove(&comment.id);
        }
        let ahead = |kept: &&Kept| removes(kept).is_some_and(|target| missing.contains(&target));
        let ahead = self.events.iter().rev().filter(ahead);
        let ahead = ahead.take(REMOVALS_AHEAD_MAX);
        let all = newest.iter().copied().chain(decisions).chain(ahead);
        StreamState {
            newest: all.map(Kept::event).collect(),
            ..self.state.clone()
        }
    }

    /// What is in a range, when the cache holds all of it.
    pub(super) fn replay(&self, range: &ReplayRange) -> Option<Replayed> {
        for (region, to) in &range.to.0 {
            let from = range.from.get(region);
            let from_seq = from.map_or(0, |from| from.seq);
            if from.is_some_and(|from| from.epoch != to.epoch) {
                return None;
            }
            if from_seq >= to.seq {
                continue;
            }
            let at = self.state.at.get(region)?;
            let floor = self.floor.get(region);
            let floor_seq = floor.map_or(0, |floor| floor.seq);
            let same_log =
                at.epoch == to.epoch && floor.is_none_or(|floor| floor.epoch == to.epoch);
            if !same_log || to.seq > at.seq || from_seq < floor_seq {
                return None;
            }
        }
        let wanted = |kept: &&Kept| {
            let (region, at) = (&kept.region, kept.at);
            let after = range.from.get(region).map_or(0, |from| from.seq);
            let floor = self.floor.get(region).map_or(0, |floor| floor.seq);
            range.to.get(region).is_some_and(|to| {
                to.epoch == at.epoch && at.seq > after.max(floor) && at.seq <= to.seq
            })
        };
        let most = (range.events_max as usize).saturating_add(1);
        let mut found: Vec<&Kept> = self.events.iter().filter(wanted).take(most).collect();
        if found.len() == most {
            return Some(Replayed {
                gap: true,
                events: Vec::new(),
            });
        }
        found.sort_by_key(|kept| kept.id);
        Some(Replayed {
            gap: false,
            events: found.into_iter().map(Kept::event).collect(),
        })
    }
}
