//! The connections of a shard.

use chorus_protocol::{Encoding, UserId};

use crate::conn::{Conn, Membership, Phase};
use crate::io::{ConnectionId, TopicId};
use crate::keyed::{Keyed, Map};

/// Connections by their number.
#[derive(Debug)]
pub(crate) struct Conns {
    by_id: Map<ConnectionId, Conn>,
    /// Tells one try to join from the others.
    next_ticket: u32,
}

impl Conns {
    pub(crate) fn new(keyed: &Keyed) -> Self {
        Self {
            by_id: keyed.map(),
            next_ticket: 1,
        }
    }

    pub(crate) fn get(&self, connection: ConnectionId) -> Option<&Conn> {
        self.by_id.get(&connection)
    }

    pub(crate) fn get_mut(&mut self, connection: ConnectionId) -> Option<&mut Conn> {
        self.by_id.get_mut(&connection)
    }

    pub(crate) fn insert(&mut self, connection: ConnectionId, conn: Conn) {
        self.by_id.insert(connection, conn);
    }

    pub(crate) fn remove(&mut self, connection: ConnectionId) -> Option<Conn> {
        self.by_id.remove(&connection)
    }

    pub(crate) fn encoding(&self, connection: ConnectionId) -> Option<Encoding> {
        self.get(connection).map(|conn| conn.encoding)
    }

    /// Begins a join; says its ticket.
    pub(crate) fn begin_join(&mut self, connection: ConnectionId, topic: TopicId) -> u32 {
        let ticket = self.next_ticket;
        self.next_ticket = ticket.wrapping_add(1);
        if let Some(conn) = self.by_id.get_mut(&connection) {
            // Most connections watch one stream: no room for more.
            if conn.joins.is_empty() {
                conn.joins.reserve_exact(1);
            }
            conn.joins.push(Membership {
                topic,
                ticket,
                phase: Phase::Waiting,
            });
        }
        ticket
    }

    /// Ends a membership.
    pub(crate) fn take_membership(
        &mut self,
        connection: ConnectionId,
        topic: TopicId,
    ) -> Option<(Membership, Encoding)> {
        let conn = self.by_id.get_mut(&connection)?;
        let index = conn.joins.iter().position(|join| join.topic == topic)?;
        Some((conn.joins.remove(index), conn.encoding))
    }

    pub(crate) fn membership(
        &self,
        connection: ConnectionId,
        topic: TopicId,
    ) -> Option<&Membership> {
        self.by_id.get(&connection)?.membership(topic)
    }

    /// Whether a try to join is still this far.
    pub(crate) fn is_at(
        &self,
        connection: ConnectionId,
        topic: TopicId,
        ticket: u32,
        phase: Phase,
    ) -> bool {
        self.membership(connection, topic)
            .is_some_and(|membership| membership.ticket == ticket && membership.phase == phase)
    }

    /// The connections whose membership is as asked, in their order.
    pub(crate) fn of(
        &self,
        topic: TopicId,
        mut asked: impl FnMut(&Membership) -> bool,
    ) -> Vec<ConnectionId> {
        let mut found: Vec<ConnectionId> = self
            .by_id
            .iter()
            .filter(|(_, conn)| conn.membership(topic).is_some_and(&mut asked))
            .map(|(&connection, _)| connection)
            .collect();
        found.sort_unstable();
        found
    }

    /// The connections of a user, in their order. Looks at all: it is asked seldom.
    pub(crate) fn of_user(&self, user: &UserId) -> Vec<ConnectionId> {
        let of = |conn: &Conn| conn.identity.as_ref().is_some_and(|it| it.user == *user);
        let found = self.by_id.iter().filter(|(_, conn)| of(conn));
        let mut found: Vec<ConnectionId> = found.map(|(&connection, _)| connection).collect();
        found.sort_unstable();
        found
    }

    /// What a snapshot holds: the connections in no order, the next ticket.
    pub(crate) fn parts(&self) -> (impl Iterator<Item = (ConnectionId, &Conn)>, u32) {
        let conns = self.by_id.iter().map(|(&id, conn)| (id, conn));
        (conns, self.next_ticket)
    }

    /// Takes back what [`Self::parts`] gave.
    pub(crate) fn restore(&mut self, conns: Vec<(ConnectionId, Conn)>, next_ticket: u32) {
        self.by_id.extend(conns);
        self.next_ticket = next_ticket;
    }
}
