//! The posts lane: what admission and the log answer, as far as it matters to who sends again.
//!
//! As a real gateway: what was read from the lane is published whether or not the PoP stays, however long that takes; a
//! limit holds only what the log of this region does not have; other refusals are of the moment and look for nothing.

use chorus_protocol::backhaul::{Publish, Published};
use chorus_protocol::codes::Reason;
use chorus_protocol::{CommentId, Outcome};

use crate::log::{Publication, Stored};
use crate::world::World;

/// When an acknowledgement that does not come is given up.
const ACK_MS_MAX: u64 = 300;

impl World {
    /// The gateway is asked to publish.
    pub(crate) fn gateway_publishes(&mut self, connection: usize, publish: Publish) {
        let gateway = self.connections[connection].gateway;
        let life = self.gateways[gateway].life;
        let Publish::Event { request, event } = publish else {
            return;
        };
        let publication = Publication::read(&event).expect("a session's event");
        let late = !self.healed && self.chance.permille(self.plan.late_permille);
        let takes = self.chance.range(1, if late { 1_500 } else { 20 });
        self.after(takes, move |world| {
            if !world.is_life(gateway, life) {
                return;
            }
            let (outcome, wait) = world.decide(gateway, &publication);
            world.note(|| format!("gateway {gateway} answers {}: {outcome:?}", publication.id));
            world.after(wait, move |world| {
                let line = world.connections[connection].posts_down;
                world.send(connection, line, move |world| {
                    let pop = world.connections[connection].pop;
                    world.pop_answered(pop, connection, Published { request, outcome });
                });
            });
        });
    }

    /// An outcome, and how long it takes.
    fn decide(&mut self, gateway: usize, publication: &Publication) -> (Outcome, u64) {
        let log = gateway % self.logs.len();
        let away = self.logs[log].away;
        if !self.healed && self.chance.permille(self.plan.refuse_permille) {
            let refused = Outcome::refused;
            return match self.chance.index(3) {
                0 if away => (Outcome::Unknown, ACK_MS_MAX),
                0 if self.logs[log].holds(publication.key) => self.store(log, publication),
                0 => (refused(Reason::RateLimited, Some(200)), 0),
                1 => (refused(Reason::StreamEnded, None), 0),
                _ => (refused(Reason::Unavailable, Some(1_000)), 0),
            };
        }
        if let Some(target) = publication.removes {
            if let Some(id) = self.first(|it| it.removes == Some(target)) {
                let duplicate = true;
                return (Outcome::Stored { id, duplicate }, 0);
            }
            if self.first(|it| it.id == target).is_none() {
                return (Outcome::refused(Reason::CommentNotFound, None), 0);
            }
        }
        if away {
            return (Outcome::Unknown, ACK_MS_MAX);
        }
        let stored = self.store(log, publication);
        if !self.healed && self.chance.permille(self.plan.ack_lost_permille) {
            return (Outcome::Unknown, ACK_MS_MAX);
        }
        stored
    }

    fn store(&mut self, log: usize, publication: &Publication) -> (Outcome, u64) {
        let (id, duplicate) = self.append(log, publication);
        (Outcome::Stored { id, duplicate }, 0)
    }

    /// The id of the first of its kind that any log ever had.
    fn first(&self, is: impl Fn(&Stored) -> bool) -> Option<CommentId> {
        let mut all = self.logs.iter().flat_map(|log| &log.ever);
        all.find(|it| is(it)).map(|it| it.id)
    }
}
