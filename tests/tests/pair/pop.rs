//! A PoP: its hub, its shards, and its connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chorus_edge::backhaul::hub::{Ask, FromGateway, Generation, Hub, Now, Redial, Welcome};
use chorus_edge::backhaul::{BackhaulBounds, Metrics};
use chorus_edge::link::{ToBackhaul, ToShard};
use chorus_protocol::backhaul::{Publish, Published, ToGateway, ToPop, read_frame, split_frame};
use chorus_protocol::session::ReplayRange;
use chorus_protocol::{Millis, Position, StreamId};

use crate::log::Publication;
use crate::shard::{Asked, Replay, Shard};
use crate::world::{CLOCK_AHEAD_MS_MAX, WALL_MS, World};

/// Turns of one hub within a millisecond; more is a hub that wants to be looked at and has nothing to do.
const TURNS_MAX: u32 = 2_000;
/// From dialling to the end of an attempt that nobody answers.
const CONNECT_MS_MAX: u64 = 1_500;

/// See the module.
pub(crate) struct Pop {
    hub: Hub,
    pub(crate) life: u64,
    pub(crate) connection: Option<usize>,
    redial: Redial,
    pub(crate) shards: Vec<Shard>,
    metrics: Arc<Metrics>,
    bounds: BackhaulBounds,
    clock_ahead_ms: i64,
    /// When the last lease given really ends.
    pub(crate) lease_ends_ms: u64,
    wake_ms: Option<u64>,
    turns: (u64, u32),
}

impl Pop {
    pub(crate) fn new(world: &mut World, pop: usize) -> Self {
        let bounds = BackhaulBounds {
            unconfirmed_ms: world.plan.unconfirmed_ms,
            replay_ms_max: world.plan.replay_ms_max,
            early_max: world.plan.early_max,
            cache_events_max: world.plan.cache_events_max,
            newest_max: world.plan.newest_max,
            release_ms: 500,
            ..BackhaulBounds::default()
        };
        let metrics = Arc::new(Metrics::default());
        let process = world.chance.next();
        let shards = world.plan.shards;
        Self {
            hub: Hub::new(&bounds, shards, process, Arc::clone(&metrics)),
            life: world.pops.get(pop).map_or(1, |before| before.life + 1),
            connection: None,
            redial: Redial::new(bounds.reconnect_ms_max),
            shards: (0..shards).map(|_| Shard::default()).collect(),
            metrics,
            bounds,
            clock_ahead_ms: i64::try_from(world.chance.range(0, CLOCK_AHEAD_MS_MAX))
                .expect("short"),
            lease_ends_ms: 0,
            wake_ms: None,
            turns: (0, 0),
        }
    }
}

impl World {
    fn pop_now(&self, pop: usize) -> Now {
        let ahead = self.pops[pop].clock_ahead_ms;
        Now {
            mono: self.started + Duration::from_millis(self.now_ms),
            wall: Millis((WALL_MS + self.now_ms).strict_add_signed(ahead)),
        }
    }

    pub(crate) fn begin_pop(&mut self, pop: usize) {
        self.dial(pop, Duration::ZERO);
    }

    /// The process is killed and started again: what it knew is gone.
    pub(crate) fn restart_pop(&mut self, pop: usize) {
        self.note(|| format!("pop {pop} starts anew"));
        self.tally.count("PoPs restarted", 1);
        if let Some(connection) = self.pops[pop].connection {
            self.cut(connection);
        }
        self.count_pop(pop);
        let wants: Vec<_> = self.pops[pop]
            .shards
            .iter()
            .map(|it| it.wants.clone())
            .collect();
        self.pops[pop] = Pop::new(self, pop);
        self.begin_pop(pop);
        for (shard, wants) in wants.into_iter().enumerate() {
            for stream in wants {
                self.subscribe(pop, shard, stream);
            }
        }
    }

    /// A shard's session begins anew after a panic.
    pub(crate) fn restart_shard(&mut self, pop: usize, shard: usize) {
        self.note(|| format!("shard {shard} of pop {pop} starts anew"));
        self.tally.count("shards restarted", 1);
        let next_request = self.pops[pop].shards[shard].next_request;
        let before = std::mem::take(&mut self.pops[pop].shards[shard]);
        self.pops[pop].shards[shard].next_request = next_request;
        self.ask(pop, ToBackhaul::Restarted { shard: shard as u8 });
        for stream in before.wants {
            self.subscribe(pop, shard, stream);
        }
    }

    fn dial(&mut self, pop: usize, wait: Duration) {
        let life = self.pops[pop].life;
        let wait = u64::try_from(wait.as_millis()).expect("short");
        self.after(wait, move |world| {
            if world.pops[pop].life != life {
                return;
            }
            // The nearest that answers.
            let near = pop % world.gateways.len();
            let all = (0..world.gateways.len()).map(|index| (near + index) % world.gateways.len());
            let reached = all.into_iter().find(|gateway| world.gateways[*gateway].up);
            let hello_at = world.pop_now(pop).wall;
            let takes = if reached.is_some() {
                2 * world.delay()
            } else {
                CONNECT_MS_MAX
            };
            world.after(takes, move |world| {
                world.dialled(pop, life, reached, hello_at)
            });
        });
    }

    fn dialled(&mut self, pop: usize, life: u64, reached: Option<usize>, hello_at: Millis) {
        if self.pops[pop].life != life {
            return;
        }
        let Some(gateway) = reached.filter(|gateway| self.gateways[*gateway].up) else {
            let jitter = self.chance.next();
            let wait = self.pops[pop].redial.failed(jitter);
            return self.dial(pop, wait);
        };
        let connection = self.connect(pop, gateway);
        let next = gateway != pop % self.gateways.len();
        self.tally
            .count("connections to the next gateway", u64::from(next));
        self.note(|| format!("pop {pop} is connected to gateway {gateway} by {connection}"));
        let (until, ends_ms) = self.grant(gateway);
        let welcome = Welcome {
            hello_at,
            heard_at: self.pop_now(pop).wall,
            gateway_now: self.gateway_wall(gateway),
            worker: 1,
            until,
        };
        let now = self.pop_now(pop);
        let this = &mut self.pops[pop];
        this.connection = Some(connection);
        this.lease_ends_ms = this.lease_ends_ms.max(ends_ms);
        this.redial.up(now.mono);
        this.hub.connected(now, connection as Generation, &welcome);
        self.turn(pop);
    }

    /// The PoP finds out that its connection is gone.
    pub(crate) fn pop_lost(&mut self, pop: usize, connection: usize) {
        if self.pops[pop].connection != Some(connection) {
            return;
        }
        self.note(|| format!("pop {pop} lost connection {connection}"));
        let (now, jitter) = (self.pop_now(pop), self.chance.next());
        let this = &mut self.pops[pop];
        this.connection = None;
        this.hub.disconnected();
        let wait = this.redial.lost(now.mono, jitter);
        self.turn(pop);
        self.dial(pop, wait);
    }

    fn say(&mut self, pop: usize, connection: usize, said: FromGateway) {
        let now = self.pop_now(pop);
        if let Err(error) = self.pops[pop].hub.said(now, connection as Generation, said) {
            self.fail(|| format!("a delivery cannot be read: {error}"));
        }
        self.turn(pop);
    }

    pub(crate) fn pop_told(&mut self, pop: usize, connection: usize, message: ToPop) {
        self.note(|| {
            if let ToPop::Held { stream, held } = &message {
                let held = format!("{held:?}");
                let held = &held[..held.len().min(7)];
                format!("pop {pop}: {stream} is held: {held}")
            } else {
                format!("pop {pop} hears {message:?}")
            }
        });
        self.say(pop, connection, FromGateway::Control(vec![message]));
    }

    pub(crate) fn pop_answered(&mut self, pop: usize, connection: usize, published: Published) {
        self.say(pop, connection, FromGateway::Published(vec![published]));
    }

    pub(crate) fn pop_delivered(
        &mut self,
        pop: usize,
        connection: usize,
        stream: Option<StreamId>,
        data: Bytes,
    ) {
        self.say(pop, connection, FromGateway::Delivered(stream, vec![data]));
    }

    fn ask(&mut self, pop: usize, wish: ToBackhaul) {
        let now = self.pop_now(pop);
        self.pops[pop].hub.shard(now, wish);
        self.turn(pop);
    }

    pub(crate) fn subscribe(&mut self, pop: usize, shard: usize, stream: StreamId) {
        self.note(|| format!("shard {shard} of pop {pop} wants {stream}"));
        self.pops[pop].shards[shard].wants.insert(stream.clone());
        let shard = shard as u8;
        self.ask(pop, ToBackhaul::Subscribe { shard, stream });
    }

    pub(crate) fn unsubscribe(&mut self, pop: usize, shard: usize, stream: StreamId) {
        let this = &mut self.pops[pop].shards[shard];
        this.wants.remove(&stream);
        this.views.remove(&stream);
        this.unknown.remove(&stream);
        let shard = shard as u8;
        self.ask(pop, ToBackhaul::Unsubscribe { shard, stream });
    }

    pub(crate) fn publish(&mut self, pop: usize, shard: usize, publication: Publication) {
        let at_ms = self.now_ms;
        let this = &mut self.pops[pop].shards[shard];
        let request = this.request();
        let event = publication.body();
        let asked = Asked {
            publication,
            at_ms,
            answer: None,
        };
        this.publications.insert(request, asked);
        let shard = shard as u8;
        self.ask(
            pop,
            ToBackhaul::Publish {
                shard,
                request,
                event,
            },
        );
    }

    /// Asks for what lies between two places that a shard has passed.
    pub(crate) fn replay(&mut self, pop: usize, shard: usize, stream: &StreamId) {
        let at_ms = self.now_ms;
        let part = self.chance.range(0, 4);
        let this = &mut self.pops[pop].shards[shard];
        let Some(view) = this.views.get(stream) else {
            return;
        };
        let mut from = Position::default();
        for (region, at) in &view.at.0 {
            let mut at = *at;
            at.seq = at.seq * part / 4;
            from.advance(region, at);
        }
        let range = ReplayRange {
            from,
            to: view.at.clone(),
            events_max: 500,
        };
        let request = this.request();
        let stream = stream.clone();
        let asked = Replay {
            stream: stream.clone(),
            range: range.clone(),
            at_ms,
        };
        this.replays.insert(request, asked);
        let shard = shard as u8;
        self.ask(
            pop,
            ToBackhaul::Replay {
                shard,
                request,
                stream,
                range,
            },
        );
    }

    /// Carries out what the hub wants.
    fn turn(&mut self, pop: usize) {
        let now = self.pop_now(pop);
        let now_ms = self.now_ms;
        let this = &mut self.pops[pop];
        let (at_ms, count) = this.turns;
        this.turns = (now_ms, if at_ms == now_ms { count + 1 } else { 0 });
        if count > TURNS_MAX {
            return self.fail(|| format!("the hub of pop {pop} never rests"));
        }
        let out = this.hub.flush(now);
        this.clock_ahead_ms -= std::mem::take(&mut out.clock_ahead_ms);
        let shards: Vec<Vec<ToShard>> = out.shards.iter_mut().map(std::mem::take).collect();
        let control = std::mem::take(&mut out.control);
        let posts = std::mem::take(&mut out.posts);
        let asks = std::mem::take(&mut out.asks);
        out.datagrams.clear();
        for (shard, messages) in shards.into_iter().enumerate() {
            for message in messages {
                self.tell_shard(pop, shard, message);
            }
        }
        if let Some(connection) = self.pops[pop].connection {
            self.send_control(connection, &control);
            self.send_posts(connection, &posts);
            for ask in asks {
                self.send_ask(pop, connection, ask);
            }
        } else if !(control.is_empty() && posts.is_empty() && asks.is_empty()) {
            self.fail(|| format!("the hub of pop {pop} speaks to nobody"));
        }
        self.wake_pop(pop);
    }

    fn wake_pop(&mut self, pop: usize) {
        let (started, now_ms) = (self.started, self.now_ms);
        let this = &mut self.pops[pop];
        let Some(next) = this.hub.next() else { return };
        let next = next.saturating_duration_since(started);
        let at_ms = u64::try_from(next.as_micros().div_ceil(1_000)).expect("soon");
        let at_ms = at_ms.max(now_ms);
        if this
            .wake_ms
            .is_some_and(|set| set >= now_ms && set <= at_ms && at_ms > now_ms)
        {
            return;
        }
        this.wake_ms = Some(at_ms);
        let life = this.life;
        self.at(at_ms, move |world| {
            if world.pops[pop].life == life && world.pops[pop].wake_ms == Some(at_ms) {
                world.pops[pop].wake_ms = None;
                world.turn(pop);
            }
        });
    }

    fn tell_shard(&mut self, pop: usize, shard: usize, message: ToShard) {
        let now_ms = self.now_ms;
        self.note(|| {
            let told = if let ToShard::State { stream, state } = &message {
                let at = state.as_ref().map(|state| &state.at);
                format!("{stream} is at {at:?}")
            } else if let ToShard::Delivered { stream, data } = &message {
                let it = chorus_protocol::session::DeliveryView::read(data);
                let range = it.map(|it| (it.region.to_owned(), it.epoch, it.from, it.to));
                format!("{stream} gets {range:?}")
            } else {
                format!("{message:?}")
            };
            format!("pop {pop} shard {shard}: {told}")
        });
        let this = &mut self.pops[pop];
        let told = &mut this.shards[shard];
        let heard = told.hear(now_ms, &self.logs, self.plan.newest_max, message);
        let ends_ms = (WALL_MS + this.lease_ends_ms).strict_add_signed(this.clock_ahead_ms);
        let lease_until = told.lease_until;
        if let Err(fault) = heard {
            self.fail(|| format!("pop {pop} shard {shard}: {fault}"));
        } else if lease_until > ends_ms {
            self.fail(|| {
                format!("pop {pop} would mint until {lease_until}, leased until {ends_ms}")
            });
        }
    }

    fn send_control(&mut self, connection: usize, mut bytes: &[u8]) {
        let line = self.connections[connection].control_up;
        while let Some((frame, rest)) = split_frame(bytes).expect("sane") {
            let message: ToGateway = read_frame(frame).expect("ours");
            self.send(connection, line, move |world| {
                world.gateway_told(connection, message)
            });
            bytes = rest;
        }
    }

    fn send_posts(&mut self, connection: usize, mut bytes: &[u8]) {
        let line = self.connections[connection].posts_up;
        while let Some((frame, rest)) = split_frame(bytes).expect("sane") {
            let publish: Publish = read_frame(frame).expect("ours");
            self.send(connection, line, move |world| {
                world.gateway_publishes(connection, publish)
            });
            bytes = rest;
        }
    }

    /// On a lane of its own: the answer, or that there is none, arrives in any case.
    fn send_ask(&mut self, pop: usize, connection: usize, ask: Ask) {
        let life = self.pops[pop].life;
        let timeout = self.pops[pop].bounds.replay_ms_max / 2;
        let (there, back) = (self.delay(), self.delay());
        let number = ask.number;
        self.after(there, move |world| {
            let gateway = world.connections[connection].gateway;
            let reached = world.connections[connection].alive;
            let replayed = if reached {
                world.gateway_replays(gateway, &ask.stream, &ask.range)
            } else {
                None
            };
            let takes = if reached {
                back
            } else {
                timeout.saturating_sub(there)
            };
            world.after(takes, move |world| {
                if world.pops[pop].life == life {
                    let replayed = replayed.filter(|_| world.connections[connection].alive);
                    world.say(pop, connection, FromGateway::Asked { number, replayed });
                }
            });
        });
    }

    /// Adds to the tally.
    pub(crate) fn count_pop(&mut self, pop: usize) {
        use std::sync::atomic::Ordering::Relaxed;
        let (pop, tally) = (&self.pops[pop], &mut self.tally);
        for shard in &pop.shards {
            tally.count("events delivered", shard.events);
            tally.count("states given", shard.states);
            tally.count("replays answered", shard.replayed);
        }
        for (what, count) in [
            ("connections", &pop.metrics.connects),
            ("gaps told", &pop.metrics.gaps),
            ("holes seen by PoPs", &pop.metrics.holes),
            ("posts sent again", &pop.metrics.posts_resent),
            ("posts unconfirmed", &pop.metrics.posts_unconfirmed),
        ] {
            tally.count(what, count.load(Relaxed));
        }
    }
}
