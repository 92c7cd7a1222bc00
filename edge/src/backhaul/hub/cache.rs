//! The recent items of one stream: what answers a later subscription and a replay without asking the gateway.

use std::collections::VecDeque;

use chorus_protocol::backhaul::{Item, ItemKind, StreamState};
use chorus_protocol::session::{Delivery, ReplayRange, Replayed};
use chorus_protocol::stream::{Life, Revision};
use chorus_protocol::{CommentId, Offset, Position};
use serde::Deserialize;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheBounds {
    pub(super) items_max: usize,
    pub(super) bytes_max: usize,
    pub(super) newest_max: usize,
}

/// A stream's state at a position, and the items that led there.
#[derive(Debug)]
pub(super) struct Known {
    /// The state but for `at`, `newest` and the counts that move on: those are of now.
    state: StreamState,
    items: VecDeque<Item>,
    bytes: usize,
    /// All items after this and up to the state's position are in `items`.
    floor: Position,
    bounds: CacheBounds,
}

/// What a delivery is to the position.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// It follows.
    Next,
    /// Part of it was there before; this is the rest, as MessagePack.
    Rest(Vec<u8>),
    /// All of it was there before.
    Old,
    /// Something is missing before it.
    Ahead(Delivery),
    /// It contradicts itself or what is known.
    Wrong,
}

impl Known {
    pub(super) fn new(mut state: StreamState, bounds: CacheBounds) -> Self {
        let items: VecDeque<Item> = std::mem::take(&mut state.newest).into();
        let mut known = Self {
            floor: state.at.clone(),
            bytes: items.iter().map(item_bytes).sum(),
            items,
            state,
            bounds,
        };
        known.trim();
        known
    }

    pub(super) fn at(&self) -> &Position {
        &self.state.at
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

    /// Takes the delivery in when it follows, at least in part.
    pub(super) fn step(&mut self, mut delivery: Delivery) -> Step {
        if !sound(&delivery) {
            return Step::Wrong;
        }
        let at = self.state.at.get(&delivery.region);
        let seq = match at {
            Some(offset) if offset.epoch == delivery.epoch => offset.seq,
            // Another incarnation of the log: what became of the rest of the old one only the gateway can tell.
            Some(_) => return Step::Wrong,
            None => 0,
        };
        if delivery.from > seq {
            return Step::Ahead(delivery);
        }
        if delivery.to <= seq {
            return Step::Old;
        }
        if delivery.from == seq {
            self.take(delivery);
            return Step::Next;
        }
        delivery.from = seq;
        delivery.items.retain(|item| item.seq > seq);
        // Writing into memory cannot fail.
        let rest = rmp_serde::to_vec_named(&delivery).unwrap_or_default();
        self.take(delivery);
        Step::Rest(rest)
    }

    fn take(&mut self, delivery: Delivery) {
        for item in delivery.items {
            if item.kind == ItemKind::Comment {
                self.state.comment_count += 1;
            }
            self.bytes += item_bytes(&item);
            self.items.push_back(item);
        }
        let to = Offset {
            epoch: delivery.epoch,
            seq: delivery.to,
        };
        self.state.at.advance(&delivery.region, to);
        self.trim();
    }

    fn trim(&mut self) {
        while self.items.len() > self.bounds.items_max || self.bytes > self.bounds.bytes_max {
            let Some(item) = self.items.pop_front() else {
                break;
            };
            self.bytes -= item_bytes(&item);
            let to = Offset {
                epoch: item.epoch,
                seq: item.seq,
            };
            let floor = self.floor.get(&item.region);
            // What `newest` brought lies below the floor already.
            if floor.is_none_or(|floor| floor.epoch == to.epoch && floor.seq < to.seq) {
                self.floor.advance(&item.region, to);
            }
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

    /// The stream as it stands now, with the newest comments: the deliveries from now on continue it.
    pub(super) fn state(&self) -> StreamState {
        let mut newest: Vec<(CommentId, &Item)> = self
            .items
            .iter()
            .rev()
            .filter_map(|item| Some((comment_id(item)?, item)))
            .take(self.bounds.newest_max)
            .collect();
        newest.sort_by_key(|(id, _)| *id);
        StreamState {
            newest: newest.into_iter().map(|(_, item)| item.clone()).collect(),
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
        let wanted = |item: &&Item| {
            let after = range.from.get(&item.region).map_or(0, |from| from.seq);
            let floor = self.floor.get(&item.region).map_or(0, |floor| floor.seq);
            range.to.get(&item.region).is_some_and(|to| {
                to.epoch == item.epoch && item.seq > after.max(floor) && item.seq <= to.seq
            })
        };
        let mut found = Vec::new();
        for item in self.items.iter().filter(wanted) {
            if found.len() == range.items_max as usize {
                return Some(Replayed {
                    gap: true,
                    items: Vec::new(),
                });
            }
            found.push((comment_id(item)?, item));
        }
        found.sort_by_key(|(id, _)| *id);
        Some(Replayed {
            gap: false,
            items: found.into_iter().map(|(_, item)| item.clone()).collect(),
        })
    }
}

/// Whether a delivery's items are what its range says.
fn sound(delivery: &Delivery) -> bool {
    let mut last = delivery.from;
    delivery.from <= delivery.to
        && delivery.items.iter().all(|item| {
            let follows = item.seq > last
                && item.seq <= delivery.to
                && item.epoch == delivery.epoch
                && item.region == delivery.region;
            last = item.seq;
            follows
        })
}

fn item_bytes(item: &Item) -> usize {
    size_of::<Item>() + item.record.len()
}

/// The id in a comment's record, all else skipped.
fn comment_id(item: &Item) -> Option<CommentId> {
    #[derive(Deserialize)]
    struct Record {
        comment: Comment,
    }
    #[derive(Deserialize)]
    struct Comment {
        id: CommentId,
    }
    let record: Record = rmp_serde::from_slice(&item.record).ok()?;
    Some(record.comment.id)
}
