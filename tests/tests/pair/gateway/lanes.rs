//! What followers' cores want to be told and delivered: queues, and lines that take their time.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use chorus_origin::gateway::follower::core::{Answer, Frame, LaneId, Out, ToLane};
use chorus_protocol::backhaul::{ToPop, write_quiet};
use chorus_protocol::stream::{Life, Settings, StreamInfo, StreamStatus};
use chorus_protocol::{Millis, StreamId};

use crate::world::{Line, WALL_MS, World};

/// Deliveries that wait in a queue of a lane's own.
const OWN_MAX: usize = 8;
/// Deliveries that wait for a PoP's quiet lane.
const QUIET_MAX: usize = 24;

/// A lane's end in the gateway.
pub(super) struct Outlet {
    pub(super) connection: usize,
    pub(super) stream: StreamId,
    /// Open: takes deliveries.
    own: Option<Line>,
    /// Deliveries of the own lane that are not written.
    queue: VecDeque<Bytes>,
    line: Option<Line>,
    writing: bool,
}

impl Outlet {
    pub(super) fn new(connection: usize, stream: StreamId) -> Self {
        Self {
            connection,
            stream,
            own: None,
            queue: VecDeque::new(),
            line: None,
            writing: false,
        }
    }
}

/// What waits for the lane that a PoP's quiet streams share.
#[derive(Default)]
pub(super) struct Quiet {
    queue: VecDeque<(StreamId, Bytes)>,
    writing: bool,
}

impl World {
    /// False when some of it was not taken.
    pub(super) fn hand_over(&mut self, gateway: usize, stream: &StreamId, out: &mut Out) -> bool {
        for (lane, to) in std::mem::take(&mut out.lanes) {
            self.tell_lane(gateway, lane, to);
        }
        let mut refused: BTreeMap<LaneId, Vec<Frame>> = BTreeMap::new();
        for (lane, range) in std::mem::take(&mut out.deliveries) {
            self.note(|| {
                let frames = out.frames[range.clone()].iter();
                let ends: Vec<_> = frames
                    .map(|frame| (frame.region.as_str(), frame.to))
                    .collect();
                format!("gateway {gateway} hands {ends:?} of {stream} to lane {lane}")
            });
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
        self.note(|| {
            let to = format!("{to:?}");
            let to = &to[..to.len().min(13)];
            format!("gateway {gateway} tells lane {lane}: {to}")
        });
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
                self.tally.count("lanes of their own", 1);
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
        let queue = &mut this.quiet.entry(connection).or_default().queue;
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
        let quiet = self.gateways[gateway].quiet.entry(connection).or_default();
        if std::mem::replace(&mut quiet.writing, true) {
            return;
        }
        let life = self.gateways[gateway].life;
        let pace = self.pace(connection);
        self.after(pace, move |world| {
            if !world.is_life(gateway, life) {
                return;
            }
            let quiet = world.gateways[gateway].quiet.entry(connection).or_default();
            quiet.writing = false;
            let Some((stream, bytes)) = quiet.queue.pop_front() else {
                return;
            };
            let more = !quiet.queue.is_empty();
            let mut message = Vec::new();
            write_quiet(&stream, Frame::delivery(&bytes), &mut message).expect("fits");
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
            home_region: None,
        },
        seq: 1,
    }
}
