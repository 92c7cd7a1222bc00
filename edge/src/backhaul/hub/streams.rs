//! The streams this PoP holds: one hold each, however many shards want it, and no hole unseen.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chorus_protocol::StreamId;
use chorus_protocol::backhaul::{FrameError, Held, ToGateway};
use chorus_protocol::event::Removed;
use chorus_protocol::gap::Heard;
use chorus_protocol::server::Reactions;
use chorus_protocol::session::{DeliveryView, ReplayRange, Replayed};
use chorus_protocol::stream::Life;
use chorus_protocol::timing::{Backoff, Deadlines};

use super::cache::{CacheBounds, Known};
use super::hold::{Hold, Phase, bit};
use super::order::{Order, Wrong};
use super::{Out, RETRY_MS_MIN};
use crate::backhaul::metrics::{Metrics, add};
use crate::link::{ShardId, ToShard};

/// How long to wait before a stream that keeps breaking is asked for again.
const REHOLD: Backoff = Backoff::new(RETRY_MS_MIN, 5_000);

/// All streams held.
#[derive(Debug)]
pub(super) struct Streams {
    holds: HashMap<StreamId, Hold>,
    due: Deadlines<Instant, StreamId>,
    connected: bool,
    cache: CacheBounds,
    early: EarlyBounds,
    release: Duration,
}

/// How long and how many deliveries wait for what precedes them.
#[derive(Clone, Copy, Debug)]
pub(super) struct EarlyBounds {
    pub(super) max: usize,
    pub(super) wait: Duration,
}

impl Streams {
    pub(super) fn new(cache: CacheBounds, early: EarlyBounds, release_ms: u64) -> Self {
        Self {
            holds: HashMap::new(),
            due: Deadlines::default(),
            connected: false,
            cache,
            early,
            release: Duration::from_millis(release_ms),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.holds.len()
    }

    pub(super) fn subscribe(
        &mut self,
        shard: ShardId,
        stream: StreamId,
        out: &mut Out,
        metrics: &Metrics,
    ) {
        if let Some(hold) = self.holds.get_mut(&stream) {
            hold.shards |= bit(shard);
            if hold.release_at.take().is_some() {
                self.due.set(stream.clone(), hold.due());
            }
            if let Some(known) = &hold.known {
                add(&metrics.states_cached, 1);
                let state = Some(Arc::new(known.state()));
                out.shard(shard, ToShard::State { stream, state });
            }
            return;
        }
        let mut hold = Hold::new(stream.clone(), shard);
        if self.connected {
            hold.ask(out);
        }
        self.holds.insert(stream, hold);
    }

    pub(super) fn unsubscribe(&mut self, now: Instant, shard: ShardId, stream: &StreamId) {
        let Some(hold) = self.holds.get_mut(stream) else {
            return;
        };
        hold.shards &= !bit(shard);
        if hold.shards == 0 && hold.release_at.is_none() {
            hold.release_at = Some(now + self.release);
            self.due.set(stream.clone(), hold.due());
        }
    }

    /// What a shard is subscribed to.
    pub(super) fn of(&self, shard: ShardId) -> Vec<StreamId> {
        let held = self.holds.iter();
        held.filter(|(_, hold)| hold.shards & bit(shard) != 0)
            .map(|(stream, _)| stream.clone())
            .collect()
    }

    pub(super) fn connected(&mut self, out: &mut Out) {
        self.connected = true;
        self.holds.retain(|_, hold| hold.shards != 0);
        self.due.clear();
        // In an order that does not hang on the hash table.
        let mut holds: Vec<&mut Hold> = self.holds.values_mut().collect();
        holds.sort_unstable_by(|a, b| a.stream.cmp(&b.stream));
        for hold in holds {
            hold.broken = 0;
            hold.ask(out);
        }
    }

    pub(super) fn disconnected(&mut self) {
        self.connected = false;
        for (stream, hold) in &mut self.holds {
            hold.begin(Phase::Away);
            self.due.set(stream.clone(), hold.due());
        }
    }

    /// Takes the answer to a hold.
    pub(super) fn held(
        &mut self,
        now: Instant,
        stream: StreamId,
        held: Held,
        out: &mut Out,
        metrics: &Metrics,
    ) {
        let Some(hold) = self.holds.get_mut(&stream) else {
            // Released in the meantime.
            return;
        };
        let state = match held {
            Held::Unknown => {
                for shard in hold.shards() {
                    let stream = stream.clone();
                    out.shard(
                        shard,
                        ToShard::State {
                            stream,
                            state: None,
                        },
                    );
                }
                self.forget(&stream);
                return;
            }
            Held::Resumed if hold.known.is_some() => None,
            // Resumed at a position we never had.
            Held::Resumed => {
                self.broken(now, stream.as_str(), out, metrics);
                return;
            }
            Held::Fresh(state) => Some(state),
            Held::Gap(state) => {
                add(&metrics.gaps, 1);
                Some(state)
            }
        };
        let overtaken = hold.overtook(state.as_ref().map(|state| &state.at));
        if let Some(mut state) = state {
            // The gateway before this one may have known more of it.
            let removed = hold.known.take().map_or_else(Removed::default, |known| {
                state.take_life(&known.life());
                known.into_removed()
            });
            let known = Known::new(*state, removed, self.cache);
            let state = Arc::new(known.state());
            for shard in hold.shards() {
                let (stream, state) = (stream.clone(), Some(Arc::clone(&state)));
                out.shard(shard, ToShard::State { stream, state });
            }
            hold.known = Some(known);
        }
        let Some(known) = &hold.known else {
            return;
        };
        if matches!(hold.phase, Phase::Broken { .. }) {
            // It was not asked for, and what came meanwhile was dropped.
            return;
        }
        let order = Order::new(known.at(), self.early.max);
        let before = std::mem::replace(&mut hold.phase, Phase::Following { order });
        hold.early_until = None;
        if let Phase::Asked { early, .. } = before {
            for data in early {
                // It was read when it came.
                let _ = self.delivered(now, stream.as_str(), data, out, metrics);
            }
        }
        let follows = (self.holds.get(&stream))
            .is_some_and(|hold| matches!(hold.phase, Phase::Following { .. }));
        if overtaken && follows {
            self.broken(now, stream.as_str(), out, metrics);
        }
    }

    /// Takes in how a stream stands; what is known already is passed over.
    pub(super) fn life(
        &mut self,
        stream: &StreamId,
        life: &Life,
        out: &mut Out,
        metrics: &Metrics,
    ) {
        let Some(hold) = self.holds.get_mut(stream) else {
            // Released in the meantime.
            return;
        };
        // What comes before the state is in the state.
        if !hold
            .known
            .as_mut()
            .is_some_and(|known| known.take_life(life))
        {
            return;
        }
        add(&metrics.lives, 1);
        let life = Arc::new(life.clone());
        for shard in hold.shards() {
            let (stream, life) = (stream.clone(), Arc::clone(&life));
            out.shard(shard, ToShard::Life { stream, life });
        }
    }

    /// Takes a delivery, and what waited for it. Says how many events it brings.
    pub(super) fn delivered(
        &mut self,
        now: Instant,
        stream: &str,
        data: Bytes,
        out: &mut Out,
        metrics: &Metrics,
    ) -> Result<usize, FrameError> {
        let Some(hold) = self.holds.get_mut(stream) else {
            return Ok(0);
        };
        let bytes = data.clone();
        let delivery = DeliveryView::read(&bytes)?;
        let events = delivery.events.len();
        let shards = hold.shards();
        let (order, known) = match (&mut hold.phase, &mut hold.known) {
            (Phase::Following { order }, Some(known)) => (order, known),
            (Phase::Asked { early, dropped }, _) => {
                if early.len() < self.early.max {
                    early.push(data);
                } else {
                    *dropped = true;
                }
                return Ok(events);
            }
            (Phase::Away | Phase::Broken { .. } | Phase::Following { .. }, _) => return Ok(events),
        };
        let heard = order.hear(delivery, data, |region, delivery, data| {
            known.take(region, delivery);
            add(&metrics.deliveries, 1);
            for shard in shards.clone() {
                let (stream, data) = (hold.stream.clone(), data.clone());
                out.shard(shard, ToShard::Delivered { stream, data });
            }
        });
        let waits = order.waiting() > 0;
        let until = now + self.early.wait;
        match heard {
            Ok(Heard::Old) => add(&metrics.deliveries_repeated, 1),
            Ok(Heard::Next) => {
                hold.broken = 0;
                // Nearly always nothing waited. What still waits is behind another hole.
                if waits || hold.early_until.is_some() {
                    self.wait_until(stream, waits.then_some(until));
                }
            }
            Ok(Heard::Hole) if !order.is_full() => {
                add(&metrics.deliveries_early, 1);
                let until = hold.early_until.unwrap_or(until);
                self.wait_until(stream, Some(until));
            }
            Ok(Heard::Hole) | Err(Wrong) => self.broken(now, stream, out, metrics),
        }
        Ok(events)
    }

    fn wait_until(&mut self, stream: &str, until: Option<Instant>) {
        if let Some(hold) = self.holds.get_mut(stream)
            && hold.early_until != until
        {
            hold.early_until = until;
            self.due.set(hold.stream.clone(), hold.due());
        }
    }

    /// Something is missing: ask again from where all is known, at once the first time.
    fn broken(&mut self, now: Instant, stream: &str, out: &mut Out, metrics: &Metrics) {
        add(&metrics.holes, 1);
        let Some(hold) = self.holds.get_mut(stream) else {
            return;
        };
        tracing::warn!(%stream, times = hold.broken + 1, "a delivery does not follow; asking again");
        hold.broken += 1;
        if hold.broken == 1 {
            hold.ask(out);
        } else {
            let wait = Duration::from_millis(REHOLD.ms(hold.broken, 0));
            hold.begin(Phase::Broken { again: now + wait });
        }
        self.due.set(hold.stream.clone(), hold.due());
    }

    fn forget(&mut self, stream: &StreamId) {
        self.holds.remove(stream);
        self.due.set(stream.clone(), None);
    }

    pub(super) fn totals(
        &mut self,
        stream: &StreamId,
        reactions: &Reactions,
        viewers: Option<u64>,
        out: &mut Out,
    ) {
        let Some(hold) = self.holds.get_mut(stream) else {
            return;
        };
        let Some(known) = &mut hold.known else {
            return;
        };
        known.totals(reactions, viewers);
        for shard in hold.shards() {
            let (stream, reactions) = (stream.clone(), reactions.clone());
            out.shard(
                shard,
                ToShard::Counted {
                    stream,
                    reactions,
                    viewers,
                },
            );
        }
    }

    pub(super) fn replay(&self, stream: &StreamId, range: &ReplayRange) -> Option<Replayed> {
        self.holds.get(stream)?.known.as_ref()?.replay(range)
    }

    pub(super) fn tick(&mut self, now: Instant, out: &mut Out, metrics: &Metrics) {
        while let Some(stream) = self.due.pop(now) {
            let Some(hold) = self.holds.get_mut(&stream) else {
                continue;
            };
            if hold.release_at.is_some_and(|at| at <= now) {
                self.forget(&stream);
                if self.connected {
                    out.control(&ToGateway::Release { stream });
                }
            } else if matches!(hold.phase, Phase::Broken { again } if again <= now) {
                hold.ask(out);
                self.due.set(stream, hold.due());
            } else if hold.early_until.is_some_and(|until| until <= now) {
                self.broken(now, stream.as_str(), out, metrics);
            } else {
                self.due.set(stream, hold.due());
            }
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.next()
    }
}
