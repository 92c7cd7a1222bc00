//! The posts lane: what admission and the logs answer, as far as it matters to who sends again.
//!
//! As a real gateway: what was read from the lane is published whether or not the PoP stays, however long that takes, to
//! the logs that the real [`Routes`] say; a limit holds only what the logs do not have that it may lie in; other refusals
//! are of the moment and look for nothing.

use chorus_origin::gateway::follower::core::Standing;
use chorus_origin::gateway::routes::{Routes, Turned};
use chorus_origin::log::Ack;
use chorus_protocol::backhaul::{Publish, Published};
use chorus_protocol::codes::Reason;
use chorus_protocol::{CommentId, Outcome, Region};

use crate::log::{Publication, Stored, Writes};
use crate::world::World;

/// When an acknowledgement that does not come is given up.
const ACK_MS_MAX: u64 = 300;

/// A publication that a gateway was asked for.
#[derive(Clone)]
struct Asked {
    gateway: usize,
    life: u64,
    connection: usize,
    request: u64,
    publication: Publication,
}

impl World {
    /// The routes of a gateway that starts: its own region's log is the nearest.
    pub(crate) fn routes(&self, gateway: usize) -> Routes {
        let own = gateway % self.logs.len();
        let (before, from) = self.logs.split_at(own);
        let regions = from.iter().chain(before).map(|log| log.region.clone());
        Routes::new(regions)
    }

    /// The gateway is asked to publish.
    pub(crate) fn gateway_publishes(&mut self, connection: usize, publish: Publish) {
        let gateway = self.connections[connection].gateway;
        let life = self.gateways[gateway].life;
        let Publish::Event { request, event } = publish else {
            return;
        };
        let asked = Asked {
            gateway,
            life,
            connection,
            request,
            publication: Publication::read(&event).expect("a session's event"),
        };
        let late = !self.healed && self.chance.permille(self.plan.late_permille);
        let takes = self.chance.range(1, if late { 1_500 } else { 20 });
        self.after(takes, move |world| {
            if world.is_life(gateway, life) {
                world.decide(asked);
            }
        });
    }

    fn answer(&mut self, asked: &Asked, outcome: Outcome) {
        let (gateway, id) = (asked.gateway, asked.publication.id);
        self.note(|| format!("gateway {gateway} answers {id}: {outcome:?}"));
        let (connection, request) = (asked.connection, asked.request);
        let line = self.connections[connection].posts_down;
        self.send(connection, line, move |world| {
            let pop = world.connections[connection].pop;
            world.pop_answered(pop, connection, Published { request, outcome });
        });
    }

    fn decide(&mut self, asked: Asked) {
        let refused = Outcome::refused;
        if !self.healed && self.chance.permille(self.plan.refuse_permille) {
            let outcome = match self.chance.index(3) {
                0 => self.limited(&asked),
                1 => refused(Reason::StreamEnded, None),
                _ => refused(Reason::Unavailable, Some(1_000)),
            };
            return self.answer(&asked, outcome);
        }
        if let Some(target) = asked.publication.removes {
            if let Some(id) = self.first(|it| it.removes == Some(target)) {
                let duplicate = true;
                return self.answer(&asked, Outcome::Stored { id, duplicate });
            }
            if self.first(|it| it.id == target).is_none() {
                return self.answer(&asked, refused(Reason::CommentNotFound, None));
            }
        }
        let now_ms = self.now_ms;
        let this = &mut self.gateways[asked.gateway];
        let standings = this.standings.clone();
        let usable = |region: &Region| standings.get(region) != Some(&Standing::Away);
        let Some(way) = this.routes.choose(now_ms, None, usable) else {
            return self.answer(&asked, refused(Reason::Unavailable, Some(1_000)));
        };
        for probe in way.probes {
            let (ack, wait, _) = self.write(&probe, &asked.publication);
            let (gateway, life) = (asked.gateway, asked.life);
            self.after(wait, move |world| {
                if world.is_life(gateway, life) {
                    world.came_out(gateway, &probe, &ack);
                }
            });
        }
        self.try_log(asked, way.to);
    }

    /// A limit holds it, unless a log has it.
    fn limited(&mut self, asked: &Asked) -> Outcome {
        let own = asked.gateway % self.logs.len();
        let all = self.gateways[asked.gateway]
            .routes
            .went_elsewhere(self.now_ms);
        let mut away = false;
        for (index, log) in self.logs.iter().enumerate() {
            if index != own && !all {
                continue;
            }
            if log.away || log.writes != Writes::Well {
                away = true;
            } else if let Some(id) = log.first_of(asked.publication.key) {
                let duplicate = true;
                return Outcome::Stored { id, duplicate };
            }
        }
        if away {
            return Outcome::Unknown;
        }
        Outcome::refused(Reason::RateLimited, Some(200))
    }

    fn try_log(&mut self, asked: Asked, region: Region) {
        let (ack, wait, first) = self.write(&region, &asked.publication);
        let (gateway, life) = (asked.gateway, asked.life);
        self.after(wait, move |world| {
            if !world.is_life(gateway, life) {
                return;
            }
            world.came_out(gateway, &region, &ack);
            if let (Ack::Stored { duplicate, .. }, Some(id)) = (&ack, first) {
                let duplicate = *duplicate;
                return world.answer(&asked, Outcome::Stored { id, duplicate });
            }
            let now_ms = world.now_ms;
            let this = &mut world.gateways[gateway];
            let standings = this.standings.clone();
            let usable = |region: &Region| standings.get(region) != Some(&Standing::Away);
            match this.routes.next(now_ms, &region, usable) {
                Some(next) => {
                    world.tally.count("events to the next region's log", 1);
                    world.try_log(asked, next);
                }
                None => world.answer(&asked, Outcome::Unknown),
            }
        });
    }

    fn came_out(&mut self, gateway: usize, region: &Region, ack: &Ack) {
        let now_ms = self.now_ms;
        let turned = self.gateways[gateway].routes.came_out(now_ms, region, ack);
        if turned == Some(Turned::Closed) {
            self.tally.count("logs that take events again", 1);
        }
    }

    /// Writes to a log: how it is acknowledged, how long that takes, and the id of the first under the key.
    fn write(
        &mut self,
        region: &Region,
        publication: &Publication,
    ) -> (Ack, u64, Option<CommentId>) {
        let log = self.logs.iter().position(|log| log.region == *region);
        let log = log.expect("a region");
        let writes = self.logs[log].writes;
        if self.logs[log].away || writes == Writes::NoLeader {
            return (Ack::Unknown, 0, None);
        }
        if writes == Writes::Frozen {
            return (Ack::Unknown, ACK_MS_MAX, None);
        }
        let elsewhere = self.logs.iter().enumerate();
        let copy = elsewhere
            .filter(|(index, _)| *index != log)
            .any(|(_, other)| other.first_of(publication.key) == Some(publication.id));
        let (id, duplicate) = self.append(log, publication);
        self.tally
            .count("events in two logs", u64::from(copy && !duplicate));
        let lost = writes == Writes::AcksLost
            || !self.healed && self.chance.permille(self.plan.ack_lost_permille);
        if lost {
            return (Ack::Unknown, ACK_MS_MAX, None);
        }
        (Ack::Stored { seq: 1, duplicate }, 0, Some(id))
    }

    /// The id of the first of its kind that any log ever had.
    fn first(&self, is: impl Fn(&Stored) -> bool) -> Option<CommentId> {
        let mut all = self.logs.iter().flat_map(|log| &log.ever);
        all.find(|it| is(it)).map(|it| it.id)
    }
}
