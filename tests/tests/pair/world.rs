//! Time, what is to happen, and the lines between PoPs and gateways.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use chorus_protocol::{CommentId, Region, StreamId};

use crate::chance::Chance;
use crate::gateway::Gateway;
use chorus_origin::gateway::follower::core::Heard;

use crate::log::{Log, Publication};
use crate::plan::Plan;
use crate::pop::Pop;

/// Lines of the trace that are printed.
const TRACE_LINES: usize = 80;
/// Milliseconds since 1970 at which everything begins.
pub(crate) const WALL_MS: u64 = 1_800_000_000_000;

type Happening = Box<dyn FnOnce(&mut World)>;

/// One direction of one lane: what is put in comes out in its order.
pub(crate) type Line = u64;

/// A connection of a PoP with a gateway. Its index is its generation.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) pop: usize,
    pub(crate) gateway: usize,
    /// Packets pass.
    pub(crate) alive: bool,
    /// Reading is slow until then.
    pub(crate) slow_until_ms: u64,
    pub(crate) control_up: Line,
    pub(crate) control_down: Line,
    pub(crate) posts_up: Line,
    pub(crate) posts_down: Line,
    pub(crate) quiet: Line,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) states: u64,
    pub(crate) gaps: u64,
    pub(crate) lagged: u64,
    pub(crate) repairs: u64,
    pub(crate) tail_repairs: u64,
    pub(crate) own_lanes: u64,
    pub(crate) replayed: u64,
    pub(crate) connects: u64,
    pub(crate) resent: u64,
    pub(crate) holes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.events += other.events;
        self.states += other.states;
        self.gaps += other.gaps;
        self.lagged += other.lagged;
        self.repairs += other.repairs;
        self.tail_repairs += other.tail_repairs;
        self.own_lanes += other.own_lanes;
        self.replayed += other.replayed;
        self.connects += other.connects;
        self.resent += other.resent;
        self.holes += other.holes;
    }

    /// A simulation in which something never happens shows nothing about it.
    pub(crate) fn all_happened(&self) {
        let all = [
            self.events,
            self.states,
            self.gaps,
            self.lagged,
            self.repairs,
            self.tail_repairs,
            self.own_lanes,
            self.replayed,
            self.connects,
            self.resent,
            self.holes,
        ];
        assert!(all.iter().all(|count| *count > 0), "{self:?}");
    }
}

pub(crate) struct World {
    pub(crate) now_ms: u64,
    pub(crate) started: Instant,
    queue: BTreeMap<(u64, u64), Happening>,
    number: u64,
    pub(crate) chance: Chance,
    pub(crate) plan: Plan,
    pub(crate) logs: Vec<Log>,
    pub(crate) streams: Vec<StreamId>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) pops: Vec<Pop>,
    pub(crate) connections: Vec<Connection>,
    lines: BTreeMap<Line, u64>,
    /// What was published first under its key.
    pub(crate) published: Vec<Publication>,
    /// How often each key was published by a shard.
    pub(crate) times: BTreeMap<u128, usize>,
    /// Tries of a key that a gateway has not decided about.
    pub(crate) under_way: BTreeMap<u128, usize>,
    pub(crate) tally: Tally,
    pub(crate) fault: Option<String>,
    traced: bool,
    pub(crate) trace: VecDeque<String>,
    pub(crate) healed: bool,
}

impl World {
    pub(crate) fn new(seed: u64, traced: bool) -> Self {
        let mut chance = Chance::new(seed);
        let plan = Plan::draw(&mut chance);
        let region = |index: usize| -> Region { ["eu", "us"][index].parse().expect("a region") };
        let logs = (0..plan.regions).map(|index| Log::new(region(index), 1_000));
        let stream = |index: usize| format!("stream-{index}").parse().expect("a stream");
        let mut world = Self {
            now_ms: 0,
            started: Instant::now(),
            queue: BTreeMap::new(),
            number: 0,
            logs: logs.collect(),
            streams: (0..plan.streams).map(stream).collect(),
            gateways: Vec::new(),
            pops: Vec::new(),
            connections: Vec::new(),
            lines: BTreeMap::new(),
            published: Vec::new(),
            times: BTreeMap::new(),
            under_way: BTreeMap::new(),
            tally: Tally::default(),
            fault: None,
            traced,
            trace: VecDeque::new(),
            healed: false,
            chance,
            plan,
        };
        for gateway in 0..world.plan.gateways {
            world.gateways.push(Gateway::default());
            world.start_gateway(gateway);
        }
        for pop in 0..world.plan.pops {
            let started = Pop::new(&mut world, pop);
            world.pops.push(started);
            world.begin_pop(pop);
        }
        world.arrange();
        world
    }

    /// Runs until all that was planned has settled, or until something is wrong.
    pub(crate) fn run(&mut self) {
        while self.fault.is_none() {
            let Some(((at_ms, _), happening)) = self.queue.pop_first() else {
                break;
            };
            if at_ms > self.plan.end_ms() {
                break;
            }
            self.now_ms = at_ms;
            happening(self);
        }
        if self.fault.is_none() {
            self.settled();
        }
    }

    pub(crate) fn after(&mut self, ms: u64, happening: impl FnOnce(&mut World) + 'static) {
        self.at(self.now_ms + ms, happening);
    }

    pub(crate) fn at(&mut self, at_ms: u64, happening: impl FnOnce(&mut World) + 'static) {
        self.number += 1;
        self.queue
            .insert((at_ms.max(self.now_ms), self.number), Box::new(happening));
    }

    pub(crate) fn fail(&mut self, what: impl FnOnce() -> String) {
        if self.fault.is_none() {
            self.fault = Some(format!("at {} ms: {}", self.now_ms, what()));
        }
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if self.traced {
            if self.trace.len() == TRACE_LINES {
                self.trace.pop_front();
            }
            self.trace
                .push_back(format!("{:>6} {}", self.now_ms, what()));
        }
    }

    pub(crate) fn line(&mut self) -> Line {
        self.number += 1;
        self.number
    }

    /// Opens a connection's lines.
    pub(crate) fn connect(&mut self, pop: usize, gateway: usize) -> usize {
        let lines = [(); 5].map(|()| self.line());
        let [control_up, control_down, posts_up, posts_down, quiet] = lines;
        self.connections.push(Connection {
            pop,
            gateway,
            alive: true,
            slow_until_ms: 0,
            control_up,
            control_down,
            posts_up,
            posts_down,
            quiet,
        });
        self.connections.len() - 1
    }

    /// Sends over a line of a connection: what is sent later arrives later, or not at all.
    pub(crate) fn send(
        &mut self,
        connection: usize,
        line: Line,
        arrives: impl FnOnce(&mut World) + 'static,
    ) {
        if !self.connections[connection].alive {
            return;
        }
        let delay = self.delay();
        let after = self.lines.get(&line).copied().unwrap_or(0);
        let at_ms = (self.now_ms + delay).max(after);
        self.lines.insert(line, at_ms);
        self.at(at_ms, move |world| {
            if world.connections[connection].alive {
                arrives(world);
            }
        });
    }

    /// One way between a PoP and a gateway.
    pub(crate) fn delay(&mut self) -> u64 {
        if self.chance.permille(self.plan.jitter_permille) {
            return self.chance.range(20, 150);
        }
        self.chance.range(1, 8)
    }

    /// The connection passes nothing any more; both sides find out.
    pub(crate) fn cut(&mut self, connection: usize) {
        if !std::mem::replace(&mut self.connections[connection].alive, false) {
            return;
        }
        self.note(|| format!("connection {connection} is cut"));
        let finds_out = [(); 2].map(|()| self.chance.pick(&[0, 1, 5, 300, 1_800]));
        let (pop, gateway) = (
            self.connections[connection].pop,
            self.connections[connection].gateway,
        );
        self.after(finds_out[0], move |world| world.pop_lost(pop, connection));
        self.after(finds_out[1], move |world| {
            world.gateway_lost(gateway, connection)
        });
    }

    /// Stores it in a region's log and lets the gateways hear of it.
    pub(crate) fn append(&mut self, log: usize, publication: &Publication) -> (CommentId, bool) {
        let (id, heard) = self.logs[log].append(publication);
        let duplicate = heard.is_none();
        let (region, last) = (self.logs[log].region.clone(), self.logs[log].last);
        if let Some(heard) = heard {
            self.note(|| format!("{region} {last} is {id} of {}", publication.stream));
            self.publish_live(&publication.stream, &heard);
        }
        (id, duplicate)
    }

    fn publish_live(&mut self, stream: &StreamId, heard: &Heard) {
        for gateway in 0..self.gateways.len() {
            let lost = self.plan.loses(self.now_ms) && !self.healed;
            if lost || (!self.healed && self.chance.permille(self.plan.loss_permille)) {
                continue;
            }
            let twice = !self.healed && self.chance.permille(self.plan.repeat_permille);
            for _ in 0..=u64::from(twice) {
                let late = !self.healed && self.chance.permille(self.plan.late_permille);
                let delay = if late {
                    self.chance.range(20, 600)
                } else {
                    self.chance.range(0, 4)
                };
                let (stream, heard) = (stream.clone(), heard.clone());
                let life = self.gateways[gateway].life;
                self.after(delay, move |world| {
                    world.heard(gateway, life, &stream, heard)
                });
            }
        }
    }
}
