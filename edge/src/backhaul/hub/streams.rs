//! The streams this PoP holds: one hold each, however many shards want it, and no hole unseen.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chorus_protocol::StreamId;
use chorus_protocol::backhaul::{Held, ToGateway};
use chorus_protocol::server::Reactions;
use chorus_protocol::session::{Delivery, ReplayRange, Replayed};
use chorus_protocol::stream::Life;

use super::Out;
use super::cache::{CacheBounds, Known, Step};
use super::posts::backoff;
use crate::backhaul::metrics::{Metrics, add};
use crate::link::{ShardId, ToShard};

/// The longest wait before a stream that keeps breaking is asked for again.
const REHOLD_MS_MAX: u64 = 5_000;

/// How it stands with the gateway.
#[derive(Debug)]
enum Phase {
    /// No gateway.
    Away,
    /// Asked for; deliveries that come before the answer wait.
    Asked,
    /// Deliveries follow.
    Following,
    /// To be asked for again then.
    Broken { again: Instant },
}

#[derive(Debug)]
struct Hold {
    /// A bit for each shard.
    shards: u16,
    phase: Phase,
    known: Option<Known>,
    /// Deliveries that came before the answer, or over one lane before those of another that precede them.
    early: Vec<(Delivery, Bytes)>,
    /// By then what precedes them is there, or it is missing.
    early_until: Option<Instant>,
    /// How often it broke since the last delivery that followed.
    broken: u32,
    release_at: Option<Instant>,
}

impl Hold {
    /// Enters a phase in which nothing waits yet: what waited is delivered again.
    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.early = Vec::new();
        self.early_until = None;
    }

    fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        let bits = self.shards;
        (0..16).filter(move |shard| bits & (1 << shard) != 0)
    }
}

/// All streams held.
#[derive(Debug)]
pub(super) struct Streams {
    holds: HashMap<StreamId, Hold>,
    due: BTreeSet<(Instant, StreamId)>,
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
            due: BTreeSet::new(),
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
            hold.release_at = None;
            if let Some(known) = &hold.known {
                add(&metrics.states_cached, 1);
                let state = Some(Arc::new(known.state()));
                out.shard(shard, ToShard::State { stream, state });
            }
            return;
        }
        let mut hold = Hold {
            shards: bit(shard),
            phase: Phase::Away,
            known: None,
            early: Vec::new(),
            early_until: None,
            broken: 0,
            release_at: None,
        };
        if self.connected {
            ask(&stream, &mut hold, out);
        }
        self.holds.insert(stream, hold);
    }

    pub(super) fn unsubscribe(&mut self, now: Instant, shard: ShardId, stream: &StreamId) {
        let Some(hold) = self.holds.get_mut(stream) else {
            return;
        };
        hold.shards &= !bit(shard);
        if hold.shards == 0 && hold.release_at.is_none() {
            let at = now + self.release;
            hold.release_at = Some(at);
            self.due.insert((at, stream.clone()));
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
        for (stream, hold) in &mut self.holds {
            hold.broken = 0;
            ask(stream, hold, out);
        }
    }

    pub(super) fn disconnected(&mut self) {
        self.connected = false;
        for hold in self.holds.values_mut() {
            hold.begin(Phase::Away);
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
                self.holds.remove(&stream);
                return;
            }
            Held::Resumed if hold.known.is_some() => None,
            // Resumed at a position we never had.
            Held::Resumed => {
                self.broken(now, &stream, out, metrics);
                return;
            }
            Held::Fresh(state) => Some(state),
            Held::Gap(state) => {
                add(&metrics.gaps, 1);
                Some(state)
            }
        };
        if let Some(mut state) = state {
            // The gateway before this one may have known more of it.
            if let Some(known) = &hold.known {
                state.take_life(&known.life());
            }
            let known = Known::new(*state, self.cache);
            let state = Arc::new(known.state());
            for shard in hold.shards() {
                let (stream, state) = (stream.clone(), Some(Arc::clone(&state)));
                out.shard(shard, ToShard::State { stream, state });
            }
            hold.known = Some(known);
        }
        hold.phase = Phase::Following;
        self.look_at_early(now, &stream, out, metrics);
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

    pub(super) fn delivered(
        &mut self,
        now: Instant,
        stream: &StreamId,
        delivery: Delivery,
        data: Bytes,
        out: &mut Out,
        metrics: &Metrics,
    ) {
        if self.take(now, stream, delivery, data, out, metrics) {
            self.look_at_early(now, stream, out, metrics);
        }
    }

    /// Takes what waited as far as it follows now. It may have come over several lanes, so it is looked at in order.
    fn look_at_early(&mut self, now: Instant, stream: &StreamId, out: &mut Out, metrics: &Metrics) {
        let Some(hold) = self.holds.get_mut(stream) else {
            return;
        };
        if hold.early.is_empty() {
            return;
        }
        hold.early_until = None;
        let mut early = std::mem::take(&mut hold.early);
        early.sort_by(|(a, _), (b, _)| {
            (&a.region, a.epoch, a.from).cmp(&(&b.region, b.epoch, b.from))
        });
        for (delivery, data) in early {
            self.take(now, stream, delivery, data, out, metrics);
        }
    }

    /// Takes one delivery; true when it followed.
    fn take(
        &mut self,
        now: Instant,
        stream: &StreamId,
        delivery: Delivery,
        data: Bytes,
        out: &mut Out,
        metrics: &Metrics,
    ) -> bool {
        let Some(hold) = self.holds.get_mut(stream) else {
            return false;
        };
        match hold.phase {
            Phase::Away | Phase::Broken { .. } => return false,
            Phase::Asked => {
                // One more is dropped: a hole that is seen when the rest is looked through.
                if hold.early.len() < self.early.max {
                    hold.early.push((delivery, data));
                }
                return false;
            }
            Phase::Following => {}
        }
        let Some(known) = &mut hold.known else {
            return false;
        };
        let data = match known.step(delivery) {
            Step::Next => data,
            Step::Rest(rest) => rest.into(),
            Step::Old => {
                add(&metrics.deliveries_repeated, 1);
                return false;
            }
            Step::Ahead(delivery) if hold.early.len() < self.early.max => {
                add(&metrics.deliveries_early, 1);
                hold.early.push((delivery, data));
                if hold.early_until.is_none() {
                    let until = now + self.early.wait;
                    hold.early_until = Some(until);
                    self.due.insert((until, stream.clone()));
                }
                return false;
            }
            Step::Ahead(_) | Step::Wrong => {
                self.broken(now, stream, out, metrics);
                return false;
            }
        };
        hold.broken = 0;
        add(&metrics.deliveries, 1);
        for shard in hold.shards() {
            let (stream, data) = (stream.clone(), data.clone());
            out.shard(shard, ToShard::Delivered { stream, data });
        }
        true
    }

    /// Something is missing: ask again from where all is known, at once the first time.
    fn broken(&mut self, now: Instant, stream: &StreamId, out: &mut Out, metrics: &Metrics) {
        add(&metrics.holes, 1);
        let Some(hold) = self.holds.get_mut(stream) else {
            return;
        };
        tracing::warn!(%stream, times = hold.broken + 1, "a delivery does not follow; asking again");
        hold.broken += 1;
        if hold.broken == 1 {
            ask(stream, hold, out);
        } else {
            let again = now + backoff(hold.broken, REHOLD_MS_MAX, 0);
            hold.begin(Phase::Broken { again });
            self.due.insert((again, stream.clone()));
        }
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
        while let Some((at, stream)) = self.due.first().cloned()
            && at <= now
        {
            self.due.pop_first();
            let Some(hold) = self.holds.get_mut(&stream) else {
                continue;
            };
            if hold.release_at.is_some_and(|at| at <= now) {
                self.holds.remove(&stream);
                if self.connected {
                    out.control(&ToGateway::Release { stream });
                }
            } else if matches!(hold.phase, Phase::Broken { again } if again <= now) {
                ask(&stream, hold, out);
            } else if hold.early_until.is_some_and(|until| until <= now) {
                self.broken(now, &stream, out, metrics);
            }
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}

fn ask(stream: &StreamId, hold: &mut Hold, out: &mut Out) {
    hold.begin(Phase::Asked);
    out.control(&ToGateway::Hold {
        stream: stream.clone(),
        have: hold.known.as_ref().map(|known| known.at().clone()),
        full: false,
        knows: hold.known.as_ref().map(Known::revision),
    });
}

fn bit(shard: ShardId) -> u16 {
    1_u16.checked_shl(u32::from(shard)).unwrap_or(0)
}
