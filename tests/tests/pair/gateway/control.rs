//! The control lane: holds and leases.

use std::collections::VecDeque;

use chorus_origin::gateway::follower::core::{Bounds, Core, LaneId, Out};
use chorus_protocol::backhaul::{Held, ToGateway, ToPop};
use chorus_protocol::{Millis, Position, StreamId};

use super::Follower;
use super::lanes::Outlet;
use crate::world::{WALL_MS, World};

/// What a worker's lease lasts.
const LEASE_MS: u64 = 3_000;

impl World {
    pub(super) fn tell(&mut self, connection: usize, message: ToPop) {
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
            ToGateway::Hello { .. } | ToGateway::Load { .. } => {}
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
                        now_ms: Some(self.gateway_wall(gateway)),
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
        let outlet = Outlet::new(connection, stream.clone());
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
}
