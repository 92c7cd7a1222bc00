//! Time, what is to happen, and the lines between PoPs and gateways.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use chorus_origin::gateway::follower::core::Heard;
use chorus_protocol::{CommentId, Region, StreamId};

use crate::chance::Chance;
use crate::gateway::Gateway;
use crate::log::{Log, Publication};
use crate::plan::Plan;
use crate::pop::Pop;
use crate::tally::Tally;

/// Milliseconds since 1970 at which everything begins.
pub(crate) const WALL_MS: u64 = 1_800_000_000_000;
/// How wrong a clock may be.
pub(crate) const CLOCK_AHEAD_MS_MAX: u64 = 20_000;

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
    /// What anybody published, each time.
    pub(crate) published: Vec<Publication>,
    /// How often each key was published.
    pub(crate) times: BTreeMap<u128, usize>,
    pub(crate) tally: Tally,
    pub(crate) fault: Option<String>,
    trace_max: usize,
    pub(crate) trace: VecDeque<String>,
    pub(crate) healed: bool,
}

impl World {
    /// Keeps so many of the last lines of its trace.
    pub(crate) fn new(seed: u64, trace_max: usize) -> Self {
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
            tally: Tally::default(),
            fault: None,
            trace_max,
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
        if self.trace_max > 0 {
            if self.trace.len() == self.trace_max {
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
        self.tally.count("connections broken", 1);
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
            self.note(|| {
                let removes = publication
                    .removes
                    .map(|it| format!(", which removes {it}"));
                let removes = removes.unwrap_or_default();
                format!("{region} {last} is {id} of {}{removes}", publication.stream)
            });
            self.publish_live(&publication.stream, &heard);
        }
        (id, duplicate)
    }

    fn publish_live(&mut self, stream: &StreamId, heard: &Heard) {
        for gateway in 0..self.gateways.len() {
            let lost = !self.healed
                && (self.plan.loses(self.now_ms) || self.chance.permille(self.plan.loss_permille));
            if lost {
                self.note(|| format!("gateway {gateway} does not hear it"));
                self.tally.count("live events lost", 1);
                continue;
            }
            let twice = !self.healed && self.chance.permille(self.plan.repeat_permille);
            self.tally.count("live events repeated", u64::from(twice));
            for _ in 0..=u64::from(twice) {
                let late = !self.healed && self.chance.permille(self.plan.late_permille);
                self.tally.count("live events late", u64::from(late));
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
