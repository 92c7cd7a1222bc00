//! What a shard keeps of a connection: small, because most of them are idle.

use mio::net::TcpStream;

use super::queue::Queue;
use super::topics::Membership;
use crate::link::ShardId;
use crate::tls::Session;
use crate::ws::reader::Reader;

/// Bits of a connection's number that are its place in the shard's slab.
const SLOT_BITS: u32 = 24;
/// Bits that are the shard.
const SHARD_BITS: u32 = 4;

/// Connections a shard can number.
pub(crate) const SLOTS_MAX: usize = 1 << SLOT_BITS;

/// A connection's number: never used again by this process, and its place can be read off it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnId(pub(crate) u64);

impl ConnId {
    pub(crate) fn new(sequence: u64, shard: ShardId, slot: usize) -> Self {
        let shard = u64::from(shard) & ((1 << SHARD_BITS) - 1);
        let slot = slot as u64 & ((1 << SLOT_BITS) - 1);
        Self((sequence << SHARD_BITS | shard) << SLOT_BITS | slot)
    }

    pub(crate) fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its first request is not whole yet.
    Opening,
    /// A WebSocket that the session knows.
    Open,
    /// The close frame is on its way; what still comes in is thrown away.
    Closing,
}

/// Yes or no, eight times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags(u8);

/// The frames go out compressed where that pays.
pub(crate) const DEFLATE: u8 = 1 << 0;
/// The encoding is MessagePack.
pub(crate) const MSGPACK: u8 = 1 << 1;
/// It has a frame in this turn's batch.
pub(crate) const IN_BATCH: u8 = 1 << 2;
/// It is in the list of sockets that have more to read than a turn allows.
pub(crate) const READ_AGAIN: u8 = 1 << 3;
/// The peer's close frame has come, or its side of the socket has ended.
pub(crate) const PEER_ENDED: u8 = 1 << 4;
/// It counts as one of the process's connections.
pub(crate) const COUNTED: u8 = 1 << 5;
/// The queue is to be written once the batch is.
pub(crate) const WRITE_LATER: u8 = 1 << 6;
/// A frame waits for what else it gets.
pub(crate) const HELD: u8 = 1 << 7;

impl Flags {
    pub(crate) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u8) {
        self.0 |= flag;
    }

    pub(crate) fn clear(&mut self, flag: u8) {
        self.0 &= !flag;
    }
}

/// The topics a connection is in; nearly always one, which costs no allocation.
#[derive(Debug, Default)]
pub(crate) enum Memberships {
    #[default]
    None,
    One(Membership),
    Many(Vec<Membership>),
}

impl Memberships {
    pub(crate) fn as_slice(&self) -> &[Membership] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    pub(crate) fn find(&mut self, topic: u32) -> Option<&mut Membership> {
        match self {
            Self::None => None,
            Self::One(one) => (one.topic == topic).then_some(one),
            Self::Many(many) => many.iter_mut().find(|one| one.topic == topic),
        }
    }

    pub(crate) fn add(&mut self, membership: Membership) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(membership),
            Self::One(one) => Self::Many(vec![one, membership]),
            Self::Many(mut many) => {
                many.push(membership);
                Self::Many(many)
            }
        };
    }

    pub(crate) fn remove(&mut self, topic: u32) -> Option<Membership> {
        match std::mem::take(self) {
            Self::One(one) if one.topic == topic => Some(one),
            Self::Many(mut many) => {
                let found = many.iter().position(|one| one.topic == topic);
                let removed = found.map(|index| many.swap_remove(index));
                *self = match many.len() {
                    1 => Self::One(many[0]),
                    _ => Self::Many(many),
                };
                removed
            }
            other @ (Self::None | Self::One(_)) => {
                *self = other;
                None
            }
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) socket: TcpStream,
    /// The second, since the shard began, in which it was last heard.
    pub(crate) heard_s: u32,
    /// With [`IN_BATCH`]: which job of the outbox.
    pub(crate) job: u32,
    pub(crate) phase: Phase,
    pub(crate) flags: Flags,
    pub(crate) reader: Reader,
    /// What the socket did not take.
    pub(crate) queue: Option<Box<Queue>>,
    pub(crate) tls: Option<Box<Session>>,
    pub(crate) memberships: Memberships,
    /// While opening: the request's bytes so far.
    pub(crate) opening: Option<Box<[u8]>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_its_place() {
        let id = ConnId::new(77, 15, 0x00ab_cdef);
        assert_eq!(id.slot(), 0x00ab_cdef);
        assert_ne!(id, ConnId::new(78, 15, 0x00ab_cdef));
        assert_ne!(id, ConnId::new(77, 14, 0x00ab_cdef));
    }

    #[test]
    fn memberships_come_and_go() {
        let mut memberships = Memberships::default();
        for topic in 0..3 {
            memberships.add(Membership {
                topic,
                index: 0,
                group: 0,
            });
        }
        assert_eq!(memberships.remove(9), None);
        assert_eq!(memberships.remove(0).map(|one| one.topic), Some(0));
        assert!(memberships.find(0).is_none());
        assert_eq!(memberships.remove(2).map(|one| one.topic), Some(2));
        assert!(matches!(memberships, Memberships::One(_)));
        assert_eq!(memberships.remove(1).map(|one| one.topic), Some(1));
        assert!(memberships.as_slice().is_empty());
    }

    #[cfg(not(debug_assertions))]
    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Conn>() <= 128);
    }
}
