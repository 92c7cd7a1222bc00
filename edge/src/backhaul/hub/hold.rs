//! One stream of the PoP: who wants it and how it stands with the gateway.

use std::time::Instant;

use bytes::Bytes;
use chorus_protocol::backhaul::ToGateway;
use chorus_protocol::{Offset, Position, Region, StreamId};

use super::Out;
use super::cache::Known;
use super::order::Order;
use crate::link::ShardId;

/// How it stands with the gateway. What waits in one phase is delivered again in the next.
#[derive(Debug)]
pub(super) enum Phase {
    /// No gateway.
    Away,
    /// Asked for; deliveries that come before the answer wait. `dropped`: there was no room for all.
    Asked { early: Vec<Bytes>, dropped: bool },
    /// Deliveries follow, or wait for those that precede them: they come over several lanes.
    Following { order: Order },
    /// To be asked for again then.
    Broken { again: Instant },
}

/// A stream that shards want.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) stream: StreamId,
    /// A bit for each shard.
    pub(super) shards: u16,
    pub(super) phase: Phase,
    pub(super) known: Option<Known>,
    /// By then what precedes the deliveries that wait is there, or it is missing.
    pub(super) early_until: Option<Instant>,
    /// How often it broke since the last delivery that followed.
    pub(super) broken: u32,
    pub(super) release_at: Option<Instant>,
}

impl Hold {
    pub(super) fn new(stream: StreamId, shard: ShardId) -> Self {
        Self {
            stream,
            shards: bit(shard),
            phase: Phase::Away,
            known: None,
            early_until: None,
            broken: 0,
            release_at: None,
        }
    }

    pub(super) fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.early_until = None;
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> + Clone + use<> {
        let bits = self.shards;
        (0..16).filter(move |shard| bits & (1 << shard) != 0)
    }

    /// When it is to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        let again = match &self.phase {
            Phase::Broken { again } => Some(*again),
            Phase::Away | Phase::Asked { .. } | Phase::Following { .. } => None,
        };
        let all = [self.release_at, self.early_until, again];
        all.into_iter().flatten().min()
    }

    /// Asks the gateway for what follows what is known.
    pub(super) fn ask(&mut self, out: &mut Out) {
        self.begin(Phase::Asked {
            early: Vec::new(),
            dropped: false,
        });
        out.control(&ToGateway::Hold {
            stream: self.stream.clone(),
            have: self.known.as_ref().map(|known| known.at().clone()),
            full: false,
            knows: self.known.as_ref().map(Known::revision),
        });
    }

    /// Whether something would be missing after an answer that stands at `at`. An answer and the deliveries behind it come
    /// over different lanes: those that came first were taken already, wait for something else, or found no room.
    pub(super) fn overtook(&self, at: Option<&Position>) -> bool {
        let lost = match &self.phase {
            Phase::Asked { dropped, .. } => *dropped,
            Phase::Following { order } => order.waiting() > 0,
            Phase::Away | Phase::Broken { .. } => false,
        };
        let (Some(at), Some(known)) = (at, &self.known) else {
            return lost;
        };
        let back = |(region, known): (&Region, &Offset)| {
            at.get(region)
                .is_some_and(|at| at.epoch == known.epoch && at.seq < known.seq)
        };
        lost || known.at().0.iter().any(back)
    }
}

/// The bit of a shard, none beyond the sixteenth.
pub(super) fn bit(shard: ShardId) -> u16 {
    1_u16.checked_shl(u32::from(shard)).unwrap_or(0)
}
