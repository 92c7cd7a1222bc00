//! The state of a connection. It is small because most connections are idle.

use mio::net::TcpStream;

use super::queue::Queue;
use super::topics::Membership;
use crate::link::ShardId;
use crate::tls::Session;
use crate::ws::reader::Reader;

/// Bits of a connection's id that hold its slot in the shard's slab.
const SLOT_BITS: u32 = 24;
/// Bits of a connection's id that hold the shard.
const SHARD_BITS: u32 = 4;

/// Connections that a shard can have at once.
pub(crate) const SLOTS_MAX: usize = 1 << SLOT_BITS;

/// A connection's id: unique within this process's lifetime; it contains the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// The state of a connection from its first byte to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its first request is incomplete.
    Opening,
    /// It is a WebSocket and the session was told so.
    Open,
    /// Its last bytes (mostly a close frame) are sent or queued; received bytes are ignored.
    Closing,
}

/// Eight booleans of a connection in one byte.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags(u8);

/// `permessage-deflate` was negotiated: large frames are sent compressed.
pub(crate) const DEFLATE: u8 = 1 << 0;
/// The encoding is MessagePack.
pub(crate) const MSGPACK: u8 = 1 << 1;
/// It has a frame in this turn's batch.
pub(crate) const IN_BATCH: u8 = 1 << 2;
/// It is in the list of sockets that are read again in the next turn.
pub(crate) const READ_AGAIN: u8 = 1 << 3;
/// The peer has shut down its side of the socket, or the socket has an error.
pub(crate) const PEER_ENDED: u8 = 1 << 4;
/// It is counted among the viewers of the process.
pub(crate) const COUNTED: u8 = 1 << 5;
/// Its queue is to be written after the batch is sent.
pub(crate) const WRITE_LATER: u8 = 1 << 6;
/// It has a deferred frame.
pub(crate) const DEFERRED: u8 = 1 << 7;

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

/// The topics that a connection is a member of; nearly always one, which needs no allocation.
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

/// A connection of a shard.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) socket: TcpStream,
    /// Seconds from the shard's start to the last bytes received.
    pub(crate) heard_s: u32,
    /// With [`IN_BATCH`]: the index of its job in the outbox.
    pub(crate) job: u32,
    pub(crate) phase: Phase,
    pub(crate) flags: Flags,
    pub(crate) reader: Reader,
    /// Frames that the socket has not accepted yet; `None` when there are none.
    pub(crate) queue: Option<Box<Queue>>,
    pub(crate) tls: Option<Box<Session>>,
    pub(crate) memberships: Memberships,
    /// While opening: the bytes of the request received so far.
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
