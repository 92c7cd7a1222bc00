//! A gateway: its followers' cores, and as little around them as makes them work.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use chorus_origin::gateway::follower::core::{
    Answer, Bounds, CatchUp, Core, Frame, Heard, LaneId, Out, Read, Regions, Standing, ToLane,
};
use chorus_protocol::backhaul::{Held, Publish, Published, ToGateway, ToPop};
use chorus_protocol::codes::Reason;
use chorus_protocol::session::{ReplayRange, Replayed};
use chorus_protocol::stream::{Life, Settings, StreamInfo, StreamStatus};
use chorus_protocol::{Millis, Outcome, Position, Region, StreamId};

use crate::log::{self, Log, Publication};
use crate::world::{Line, WALL_MS, World};

/// How often last sequences are compared and regions looked at.
const SWEEP_MS: u64 = 1_000;
/// Deliveries that wait in a queue of a lane's own.
const OWN_MAX: usize = 8;
/// Deliveries that wait for a PoP's quiet lane.
const QUIET_MAX: usize = 24;
/// What a worker's lease lasts.
pub(crate) const LEASE_MS: u64 = 3_000;

/// What a stream's follower has besides its core.
struct Follower {
    core: Core,
    out: Out,
    /// Heard before the history was there.
    early: VecDeque<Heard>,
    wake_ms: Option<u64>,
}

/// A lane's end in the gateway.
struct Outlet {
    connection: usize,
    stream: StreamId,
    /// Open: takes deliveries.
    own: Option<Line>,
    /// Deliveries of the own lane that are not written.
    queue: VecDeque<Bytes>,
    line: Option<Line>,
    writing: bool,
}

/// See the module. What it knew ends with its life.
#[derive(Default)]
pub(crate) struct Gateway {
    pub(crate) up: bool,
    pub(crate) life: u64,
    followers: BTreeMap<StreamId, Follower>,
    lanes: BTreeMap<LaneId, Outlet>,
    next_lane: LaneId,
    /// By connection.
    quiet: BTreeMap<usize, (VecDeque<(StreamId, Bytes)>, bool)>,
    standings: Regions,
    /// Of each region: the last sequence of all, and of each stream.
    told: BTreeMap<Region, (u64, BTreeMap<StreamId, u64>)>,
    clock_ahead_ms: u64,
}

impl World {
    pub(crate) fn start_gateway(&mut self, gateway: usize) {
        let life = self.gateways[gateway].life + 1;
        self.gateways[gateway] = Gateway {
            up: true,
            life,
            next_lane: life * 1_000_000,
            clock_ahead_ms: self.chance.range(0, 2_000),
            ..Gateway::default()
        };
        self.note(|| format!("gateway {gateway} starts"));
        self.look_at_regions(gateway);
        self.sweep(gateway, life);
    }

    pub(crate) fn stop_gateway(&mut self, gateway: usize) {
        self.note(|| format!("gateway {gateway} stops"));
        self.gateways[gateway].up = false;
        self.gateways[gateway].life += 1;
        self.gateways[gateway].followers.clear();
        self.gateways[gateway].lanes.clear();
        for connection in 0..self.connections.len() {
            if self.connections[connection].gateway == gateway {
                self.cut(connection);
            }
        }
    }

    fn is_life(&self, gateway: usize, life: u64) -> bool {
        let gateway = &self.gateways[gateway];
        gateway.up && gateway.life == life
    }

    fn look_at_regions(&mut self, gateway: usize) {
        let standing = |log: &Log| match log.away {
            true => Standing::Away,
            false => Standing::Known { epoch: log.epoch },
        };
        let all = self
            .logs
            .iter()
            .map(|log| (log.region.clone(), standing(log)));
        self.gateways[gateway].standings = all.collect();
    }

    /// Each second: what is known of the regions, and the last sequences of the streams followed.
    fn sweep(&mut self, gateway: usize, life: u64) {
        if !self.is_life(gateway, life) {
            return;
        }
        self.look_at_regions(gateway);
        let standings = self.gateways[gateway].standings.clone();
        let now_ms = self.now_ms;
        let this = &mut self.gateways[gateway];
        let mut touched: Vec<StreamId> = Vec::new();
        for (stream, follower) in &mut this.followers {
            follower.core.regions(standings.clone());
            touched.push(stream.clone());
        }
        for log in self.logs.iter().filter(|log| !log.away) {
            let (last, streams) = this.told.entry(log.region.clone()).or_default();
            if *last == log.last {
                continue;
            }
            *last = log.last;
            for (stream, follower) in &mut this.followers {
                let seq = log.last_of(stream);
                if seq > 0 && streams.insert(stream.clone(), seq) != Some(seq) {
                    follower.core.last(now_ms, log.region.clone(), seq);
                }
            }
        }
        for stream in touched {
            self.follow(gateway, &stream);
        }
        self.after(SWEEP_MS, move |world| world.sweep(gateway, life));
    }

    /// A live message arrives.
    pub(crate) fn heard(&mut self, gateway: usize, life: u64, stream: &StreamId, heard: Heard) {
        if !self.is_life(gateway, life) {
            return;
        }
        let Some(follower) = self.gateways[gateway].followers.get_mut(stream) else {
            return;
        };
        if follower.core.is_started() {
            follower.core.hear(heard);
            self.follow(gateway, stream);
        } else {
            follower.early.push_back(heard);
        }
    }

    /// Lets a follower do what it has to do.
    fn follow(&mut self, gateway: usize, stream: &StreamId) {
        let now_ms = self.now_ms;
        for turn in 0.. {
            let Some(follower) = self.gateways[gateway].followers.get_mut(stream) else {
                return;
            };
            if follower.core.is_started() {
                for heard in follower.early.drain(..) {
                    follower.core.hear(heard);
                }
            }
            follower.core.flush(now_ms, &mut follower.out);
            let mut out = std::mem::take(&mut follower.out);
            let counts = std::mem::take(&mut out.counts);
            self.tally.lagged += counts.lagged;
            self.tally.repairs += counts.repaired;
            self.tally.tail_repairs += counts.tail_repairs;
            let all_taken = self.hand_over(gateway, stream, &mut out);
            self.start_reads(gateway, stream, &mut out);
            if out.end {
                self.note(|| format!("gateway {gateway} ends its follower of {stream}"));
                self.gateways[gateway].followers.remove(stream);
                return;
            }
            if all_taken {
                break;
            }
            if turn > 50 {
                return self.fail(|| format!("gateway {gateway} hands {stream} over for ever"));
            }
        }
        self.wake_follower(gateway, stream);
    }

    fn wake_follower(&mut self, gateway: usize, stream: &StreamId) {
        let now_ms = self.now_ms;
        let this = &mut self.gateways[gateway];
        let life = this.life;
        let Some(follower) = this.followers.get_mut(stream) else {
            return;
        };
        let Some(at_ms) = follower.core.next() else {
            return;
        };
        if at_ms <= now_ms {
            let next = follower.core.next();
            return self.fail(|| {
                format!("the follower of {stream} has nothing left to do and wants it at {next:?}")
            });
        }
        if follower
            .wake_ms
            .is_some_and(|set| set > now_ms && set <= at_ms)
        {
            return;
        }
        follower.wake_ms = Some(at_ms);
        let stream = stream.clone();
        self.at(at_ms, move |world| {
            if world.is_life(gateway, life) {
                world.follow(gateway, &stream);
            }
        });
    }

    fn start_reads(&mut self, gateway: usize, stream: &StreamId, out: &mut Out) {
        let life = self.gateways[gateway].life;
        if std::mem::take(&mut out.history) {
            let (reads, answers) = self.read_times();
            let of = stream.clone();
            self.after(reads, move |world| {
                let past = world.read_history(gateway, &of);
                world.after(answers, move |world| {
                    if !world.is_life(gateway, life) {
                        return;
                    }
                    world.look_at_regions(gateway);
                    let now_ms = world.now_ms;
                    let this = &mut world.gateways[gateway];
                    if let Some(follower) = this.followers.get_mut(&of) {
                        follower.core.regions(this.standings.clone());
                        follower.core.history(now_ms, past);
                        world.follow(gateway, &of);
                    }
                });
            });
        }
        for region in std::mem::take(&mut out.totals) {
            let (reads, _) = self.read_times();
            let of = stream.clone();
            self.after(reads, move |world| {
                let away = world
                    .logs
                    .iter()
                    .any(|log| log.region == region && log.away);
                let totals = (!away).then(Default::default);
                let now_ms = world.now_ms;
                if !world.is_life(gateway, life) {
                    return;
                }
                if let Some(follower) = world.gateways[gateway].followers.get_mut(&of) {
                    follower.core.totals(now_ms, region, totals);
                    world.follow(gateway, &of);
                }
            });
        }
        for read in std::mem::take(&mut out.reads) {
            let (reads, answers) = self.read_times();
            let of = stream.clone();
            self.after(reads, move |world| {
                let found = world.read_log(&of, &read);
                world.after(answers, move |world| {
                    let now_ms = world.now_ms;
                    if !world.is_life(gateway, life) {
                        return;
                    }
                    if let Some(follower) = world.gateways[gateway].followers.get_mut(&of) {
                        follower.core.read(now_ms, &read, found);
                        world.follow(gateway, &of);
                    }
                });
            });
        }
    }

    /// When a question reaches the log, and how long its answer takes.
    fn read_times(&mut self) -> (u64, u64) {
        let slow = !self.healed && self.chance.permille(50);
        let most = if slow { 200 } else { 6 };
        (self.chance.range(0, most), self.chance.range(0, most))
    }

    fn read_fails(&mut self, away: bool) -> bool {
        away || (!self.healed && self.chance.permille(self.plan.read_fails_permille))
    }

    fn read_history(
        &mut self,
        gateway: usize,
        stream: &StreamId,
    ) -> Option<chorus_origin::gateway::follower::core::Past> {
        let standings = &self.gateways[gateway].standings;
        let known = |log: &&Log| standings.get(&log.region) != Some(&Standing::Away);
        let logs: Vec<&Log> = self.logs.iter().filter(known).collect();
        let away = logs.iter().any(|log| log.away);
        let persisted = self.now_ms % 2 == 0;
        let past = log::past(&logs, &self.logs, stream, self.plan.newest_max, persisted);
        (!self.read_fails(away)).then_some(past)
    }

    fn read_log(
        &mut self,
        stream: &StreamId,
        read: &Read,
    ) -> Option<chorus_origin::gateway::follower::core::Found> {
        let log = self.logs.iter().find(|log| log.region == read.region)?;
        let (away, found) = (log.away, log.found(stream, read.after, read.max));
        (!self.read_fails(away)).then_some(found)
    }

    /// False when some of it was not taken.
    fn hand_over(&mut self, gateway: usize, stream: &StreamId, out: &mut Out) -> bool {
        for (lane, to) in std::mem::take(&mut out.lanes) {
            self.tell_lane(gateway, lane, to);
        }
        let mut refused: BTreeMap<LaneId, Vec<Frame>> = BTreeMap::new();
        for (lane, range) in std::mem::take(&mut out.deliveries) {
            for frame in &out.frames[range] {
                if refused.contains_key(&lane) || !self.put(gateway, lane, &frame.bytes) {
                    refused.entry(lane).or_default().push(frame.clone());
                }
            }
        }
        out.frames.clear();
        let now_ms = self.now_ms;
        let this = &mut self.gateways[gateway];
        for (lane, frames) in &refused {
            if let Some(follower) = this.followers.get_mut(stream) {
                follower.core.full(now_ms, *lane, frames);
            }
            if let Some(outlet) = this.lanes.get_mut(lane) {
                outlet.own = None;
            }
        }
        let lagging: Vec<LaneId> = refused.keys().copied().collect();
        for lane in lagging {
            self.write_own(gateway, lane);
        }
        refused.is_empty()
    }

    fn tell_lane(&mut self, gateway: usize, lane: LaneId, to: ToLane) {
        let Some(outlet) = self.gateways[gateway].lanes.get_mut(&lane) else {
            return;
        };
        let (connection, stream) = (outlet.connection, outlet.stream.clone());
        match to {
            ToLane::Answer(answer) => {
                if !matches!(answer, Answer::Resumed) {
                    // What waits is obsolete, and so is the lane.
                    outlet.queue.clear();
                    outlet.line = None;
                    outlet.own = None;
                }
                let held = answer.held(&life_of(&stream));
                self.tell(connection, ToPop::Held { stream, held });
            }
            ToLane::Own => {
                let line = outlet.line;
                let line = line.unwrap_or_else(|| self.line());
                self.tally.own_lanes += 1;
                if let Some(outlet) = self.gateways[gateway].lanes.get_mut(&lane) {
                    outlet.line = Some(line);
                    outlet.own = Some(line);
                }
            }
            ToLane::Quiet => outlet.own = None,
        }
    }

    /// Puts a delivery into the lane's queue; false when that is full.
    fn put(&mut self, gateway: usize, lane: LaneId, bytes: &Bytes) -> bool {
        let this = &mut self.gateways[gateway];
        let Some(outlet) = this.lanes.get_mut(&lane) else {
            return true;
        };
        if outlet.own.is_some() {
            if outlet.queue.len() >= OWN_MAX {
                return false;
            }
            outlet.queue.push_back(bytes.clone());
            self.write_own(gateway, lane);
            return true;
        }
        let (connection, stream) = (outlet.connection, outlet.stream.clone());
        let (queue, _) = this.quiet.entry(connection).or_default();
        if queue.len() >= QUIET_MAX {
            return false;
        }
        queue.push_back((stream, bytes.clone()));
        self.write_quiet(gateway, connection);
        true
    }

    /// How long a PoP takes for one more delivery.
    fn pace(&mut self, connection: usize) -> u64 {
        let slow = self.connections[connection].slow_until_ms > self.now_ms;
        if slow {
            self.chance.range(20, 120)
        } else {
            self.chance.range(0, 1)
        }
    }

    fn write_own(&mut self, gateway: usize, lane: LaneId) {
        let this = &mut self.gateways[gateway];
        let Some(outlet) = this.lanes.get_mut(&lane) else {
            return;
        };
        if std::mem::replace(&mut outlet.writing, true) {
            return;
        }
        let (connection, life) = (outlet.connection, this.life);
        let pace = self.pace(connection);
        self.after(pace, move |world| {
            if !world.is_life(gateway, life) {
                return;
            }
            let this = &mut world.gateways[gateway];
            let Some(outlet) = this.lanes.get_mut(&lane) else {
                return;
            };
            outlet.writing = false;
            let (connection, stream, open) = (
                outlet.connection,
                outlet.stream.clone(),
                outlet.own.is_some(),
            );
            if let (Some(bytes), Some(line)) = (outlet.queue.pop_front(), outlet.line) {
                let more = !outlet.queue.is_empty();
                let of = stream.clone();
                let data = bytes.slice(4..);
                world.send(connection, line, move |world| {
                    let pop = world.connections[connection].pop;
                    world.pop_delivered(pop, connection, Some(of), data);
                });
                if more {
                    return world.write_own(gateway, lane);
                }
            }
            if !open && let Some(follower) = world.gateways[gateway].followers.get_mut(&stream) {
                follower.core.drained(lane);
                world.follow(gateway, &stream);
            }
        });
    }

    fn write_quiet(&mut self, gateway: usize, connection: usize) {
        let (_, writing) = self.gateways[gateway].quiet.entry(connection).or_default();
        if std::mem::replace(writing, true) {
            return;
        }
        let life = self.gateways[gateway].life;
        let pace = self.pace(connection);
        self.after(pace, move |world| {
            if !world.is_life(gateway, life) {
                return;
            }
            let (queue, writing) = world.gateways[gateway].quiet.entry(connection).or_default();
            *writing = false;
            let Some((stream, bytes)) = queue.pop_front() else {
                return;
            };
            let more = !queue.is_empty();
            let mut message = Vec::new();
            chorus_protocol::backhaul::write_quiet(&stream, Frame::delivery(&bytes), &mut message)
                .expect("fits");
            let message = Bytes::from(message).slice(4..);
            let line = world.connections[connection].quiet;
            world.send(connection, line, move |world| {
                let pop = world.connections[connection].pop;
                world.pop_delivered(pop, connection, None, message);
            });
            if more {
                world.write_quiet(gateway, connection);
            }
        });
    }

    fn tell(&mut self, connection: usize, message: ToPop) {
        let line = self.connections[connection].control_down;
        self.send(connection, line, move |world| {
            let pop = world.connections[connection].pop;
            world.pop_told(pop, connection, message);
        });
    }

    /// The gateway hears a PoP on the control lane.
    pub(crate) fn gateway_told(&mut self, connection: usize, message: ToGateway) {
        let gateway = self.connections[connection].gateway;
        if !self.gateways[gateway].up {
            return;
        }
        match message {
            ToGateway::Hello { .. } => {}
            ToGateway::Hold { stream, have, .. } => self.hold(gateway, connection, stream, have),
            ToGateway::Release { stream } => self.release(gateway, connection, Some(&stream)),
            ToGateway::Renew => {
                let (until_ms, ends_ms) = self.grant(gateway);
                let pop = self.connections[connection].pop;
                self.pops[pop].lease_ends_ms = self.pops[pop].lease_ends_ms.max(ends_ms);
                self.tell(
                    connection,
                    ToPop::Renewed {
                        worker: 1,
                        until_ms,
                    },
                );
            }
        }
    }

    /// A lease: its end by the gateway's clock, and when that is.
    pub(crate) fn grant(&self, gateway: usize) -> (Millis, u64) {
        let ends_ms = self.now_ms + LEASE_MS;
        (Millis(self.gateway_wall(gateway).0 + LEASE_MS), ends_ms)
    }

    pub(crate) fn gateway_wall(&self, gateway: usize) -> Millis {
        Millis(WALL_MS + self.now_ms + self.gateways[gateway].clock_ahead_ms)
    }

    fn hold(
        &mut self,
        gateway: usize,
        connection: usize,
        stream: StreamId,
        have: Option<Position>,
    ) {
        self.note(|| format!("connection {connection} holds {stream}, has {have:?}"));
        self.release(gateway, connection, Some(&stream));
        if !self.streams.contains(&stream) {
            let held = Held::Unknown;
            return self.tell(connection, ToPop::Held { stream, held });
        }
        let bounds = Bounds {
            newest_max: self.plan.newest_max,
            resume_max: self.plan.resume_max,
        };
        let (now_ms, seed) = (self.now_ms, self.chance.next());
        let this = &mut self.gateways[gateway];
        let lane = this.next_lane;
        this.next_lane += 1;
        let outlet = Outlet {
            connection,
            stream: stream.clone(),
            own: None,
            queue: VecDeque::new(),
            line: None,
            writing: false,
        };
        this.lanes.insert(lane, outlet);
        let follower = this.followers.entry(stream.clone()).or_insert_with(|| {
            let mut core = Core::new(stream.clone(), bounds, seed, now_ms);
            core.regions(this.standings.clone());
            Follower {
                core,
                out: Out::default(),
                early: VecDeque::new(),
                wake_ms: None,
            }
        });
        follower.core.hold(lane, have);
        self.follow(gateway, &stream);
    }

    /// A PoP holds a stream no longer, or none.
    fn release(&mut self, gateway: usize, connection: usize, stream: Option<&StreamId>) {
        let now_ms = self.now_ms;
        let this = &mut self.gateways[gateway];
        let ends = |outlet: &Outlet| {
            outlet.connection == connection && stream.is_none_or(|it| *it == outlet.stream)
        };
        let lanes: Vec<LaneId> = (this.lanes.iter())
            .filter(|(_, outlet)| ends(outlet))
            .map(|(lane, _)| *lane)
            .collect();
        for lane in lanes {
            let Some(outlet) = self.gateways[gateway].lanes.remove(&lane) else {
                continue;
            };
            if let Some(follower) = self.gateways[gateway].followers.get_mut(&outlet.stream) {
                follower.core.release(now_ms, lane);
                self.follow(gateway, &outlet.stream);
            }
        }
    }

    /// The gateway finds out that a connection is gone.
    pub(crate) fn gateway_lost(&mut self, gateway: usize, connection: usize) {
        self.release(gateway, connection, None);
        self.gateways[gateway].quiet.remove(&connection);
    }

    /// The gateway is asked to publish.
    pub(crate) fn gateway_publishes(&mut self, connection: usize, publish: Publish) {
        let gateway = self.connections[connection].gateway;
        let life = self.gateways[gateway].life;
        let Publish::Event { request, event } = publish else {
            return;
        };
        let publication = Publication::read(&event).expect("a session's event");
        *self.under_way.entry(publication.key).or_default() += 1;
        let takes = self.chance.range(1, 20);
        self.after(takes, move |world| {
            if let Some(tries) = world.under_way.get_mut(&publication.key) {
                *tries -= 1;
            }
            if !world.is_life(gateway, life) {
                return;
            }
            let (outcome, wait) = world.decide(gateway, &publication);
            world.after(wait, move |world| {
                let line = world.connections[connection].posts_down;
                world.send(connection, line, move |world| {
                    let pop = world.connections[connection].pop;
                    world.pop_answered(pop, connection, Published { request, outcome });
                });
            });
        });
    }

    fn decide(&mut self, gateway: usize, publication: &Publication) -> (Outcome, u64) {
        let key = publication.key;
        let stored = self.logs.iter().any(|log| log.holds(key));
        let elsewhere = self.under_way.get(&key).is_some_and(|tries| *tries > 0);
        if !self.healed && self.chance.permille(self.plan.refuse_permille) {
            let reason = match self.chance.index(3) {
                // It is looked for what an earlier try stored.
                0 if !stored && !elsewhere => Reason::RateLimited,
                1 => Reason::StreamEnded,
                _ => Reason::Unavailable,
            };
            return (Outcome::refused(reason, None), 0);
        }
        let log = gateway % self.logs.len();
        if self.logs[log].away {
            return (Outcome::Unknown, 300);
        }
        let (id, duplicate) = self.append(log, publication);
        if !self.healed && self.chance.permille(self.plan.ack_lost_permille) {
            return (Outcome::Unknown, 300);
        }
        (Outcome::Stored { id, duplicate }, 0)
    }

    /// The gateway is asked for a replay.
    pub(crate) fn gateway_replays(
        &mut self,
        gateway: usize,
        stream: &StreamId,
        range: &ReplayRange,
    ) -> Option<Replayed> {
        let gap = Some(Replayed {
            gap: true,
            events: Vec::new(),
        });
        let regions = self.gateways[gateway].standings.clone();
        let max = self.plan.resume_max.min(range.events_max as usize);
        let away = range.to.0.iter().any(|(region, to)| {
            regions.get(region) == Some(&Standing::Away) && range.from.get(region) != Some(*to)
        });
        if away {
            return gap;
        }
        let Ok(mut missed) = CatchUp::new(&range.from, &range.to, &regions, max) else {
            return gap;
        };
        while let Some((region, after, max)) = missed.wants() {
            let log = self.logs.iter().find(|log| log.region == *region)?;
            let (away, found) = (log.away, log.found(stream, after, max));
            if self.read_fails(away) {
                return None;
            }
            if missed.read(found).is_err() {
                return gap;
            }
        }
        let events = missed.into_missed().into_iter();
        let mut events: Vec<_> = events.flat_map(|missed| missed.events).collect();
        events.sort_by_cached_key(|event| event.envelope().map(|envelope| envelope.id));
        Some(Replayed { gap: false, events })
    }

    /// Followers there are.
    pub(crate) fn followers(&self) -> usize {
        self.gateways
            .iter()
            .map(|gateway| gateway.followers.len())
            .sum()
    }
}

fn life_of(stream: &StreamId) -> Life {
    Life {
        info: StreamInfo {
            stream_id: stream.clone(),
            title: String::new(),
            description: String::new(),
            broadcaster_id: "bob".parse().expect("a user"),
            status: StreamStatus::Live,
            created_at_ms: Millis(WALL_MS),
            settings: Settings::default(),
        },
        seq: 1,
    }
}
