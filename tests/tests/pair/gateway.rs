//! A gateway: its followers' cores, and as little around them as makes them work.

#[path = "gateway/control.rs"]
mod control;
#[path = "gateway/lanes.rs"]
mod lanes;
#[path = "gateway/posts.rs"]
mod posts;
#[path = "gateway/reads.rs"]
mod reads;

use std::collections::{BTreeMap, VecDeque};

use chorus_origin::gateway::follower::core::{Core, Heard, LaneId, Out, Regions, Standing};
use chorus_protocol::{Offset, Region, StreamId};

use self::lanes::{Outlet, Quiet};
use crate::log::Log;
use crate::world::{CLOCK_AHEAD_MS_MAX, World};

/// How often last sequences are compared and regions looked at.
const SWEEP_MS: u64 = 1_000;
/// What a stream's follower has besides its core.
struct Follower {
    core: Core,
    out: Out,
    /// Heard before the history was there.
    early: VecDeque<Heard>,
    wake_ms: Option<u64>,
}

/// What followers were told of a region's log: its last sequence, and that of each stream.
#[derive(Default)]
struct Told {
    epoch: u64,
    last: u64,
    streams: BTreeMap<StreamId, u64>,
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
    quiet: BTreeMap<usize, Quiet>,
    standings: Regions,
    told: BTreeMap<Region, Told>,
    clock_ahead_ms: u64,
}

impl World {
    pub(crate) fn start_gateway(&mut self, gateway: usize) {
        let life = self.gateways[gateway].life + 1;
        self.gateways[gateway] = Gateway {
            up: true,
            life,
            next_lane: life * 1_000_000,
            clock_ahead_ms: self.chance.range(0, CLOCK_AHEAD_MS_MAX),
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
            let told = this.told.entry(log.region.clone()).or_default();
            if (told.epoch, told.last) == (log.epoch, log.last) {
                continue;
            }
            let mut now = Told {
                epoch: log.epoch,
                last: log.last,
                ..Told::default()
            };
            for (stream, follower) in &mut this.followers {
                let seq = log.last_of(stream);
                let known = told.epoch == log.epoch && told.streams.get(stream) == Some(&seq);
                if seq > 0 && !known {
                    let epoch = log.epoch;
                    let last = Offset { epoch, seq };
                    follower.core.last(now_ms, log.region.clone(), last);
                }
                now.streams.insert(stream.clone(), seq);
            }
            *told = now;
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
            self.tally.count("lags of slow lanes", counts.lagged);
            self.tally.count("holes read from the log", counts.repaired);
            self.tally.count("losses at the end", counts.tail_repairs);
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

    /// Up to where every gateway has compared its followers with a log. Logs keep the rest: what they forget is older
    /// than a comparison.
    pub(crate) fn compared(&self, log: usize) -> u64 {
        let log = &self.logs[log];
        let up = self.gateways.iter().filter(|gateway| gateway.up);
        let told = up.map(|gateway| gateway.told.get(&log.region));
        let last = told.map(|told| {
            told.filter(|it| it.epoch == log.epoch)
                .map_or(0, |it| it.last)
        });
        last.min().unwrap_or(log.last)
    }

    /// Followers there are.
    pub(crate) fn followers(&self) -> usize {
        self.gateways
            .iter()
            .map(|gateway| gateway.followers.len())
            .sum()
    }
}
