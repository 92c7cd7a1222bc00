//! What a viewer that comes back has missed, and those that wait for the answer.

use chorus_protocol::{Encoding, Millis, Offset, Position};
use serde::{Deserialize, Serialize};

use super::Waiter;
use crate::encode::{array, comments_batch};
use crate::io::{ConnectionId, RequestId};

/// How long a viewer that is ahead of this PoP waits for it, in milliseconds; then its place cannot be confirmed.
pub(crate) const AHEAD_MS_MAX: u64 = 2_000;
/// How long a question to the logs may stay unanswered, in milliseconds.
pub(crate) const REPLAY_MS_MAX: u64 = 10_000;
/// Comments in one message that brings what was missed.
pub(crate) const MISSED_BATCH_MAX: usize = 500;

/// How a resume is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// With the newest.
    Newest { gap: bool },
    /// With all that was shown after this.
    After(Position),
    /// Not yet: the viewer has seen more than was shown here.
    Ahead,
}

/// Compares a viewer's place with what is shown here.
pub(crate) fn plan(place: &Position, shown: &Position) -> Plan {
    let mut ahead = false;
    for (region, offset) in &place.0 {
        match shown.get(region) {
            None if offset.seq == 0 => {}
            None => return Plan::Newest { gap: true },
            Some(here) if here.epoch != offset.epoch => return Plan::Newest { gap: true },
            Some(here) => ahead |= offset.seq > here.seq,
        }
    }
    if ahead {
        return Plan::Ahead;
    }
    let from = shown.0.iter().map(|(region, here)| {
        let start = Offset {
            epoch: here.epoch,
            seq: 0,
        };
        (region.clone(), place.get(region).unwrap_or(start))
    });
    Plan::After(Position(from.collect()))
}

/// A viewer that is ahead of what is shown here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ahead {
    pub(crate) waiter: Waiter,
    pub(crate) until: Millis,
}

/// A question to the logs on behalf of viewers that all stand at the same place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) request: RequestId,
    pub(crate) from: Position,
    pub(crate) to: Position,
    pub(crate) waiters: Vec<JobWaiter>,
    pub(crate) until: Millis,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobWaiter {
    pub(crate) connection: ConnectionId,
    pub(crate) ticket: u32,
    /// `joined` was sent with the part up to `from`.
    pub(crate) joined: bool,
}

/// A hole in a region's deliveries, until the log has filled it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hole {
    pub(crate) request: RequestId,
    pub(crate) region: chorus_protocol::Region,
    pub(crate) epoch: u64,
    pub(crate) to: u64,
    /// Deliveries behind the hole, as they came.
    pub(crate) stash: Vec<serde_bytes::ByteBuf>,
    pub(crate) until: Millis,
}

/// Deliveries kept behind one hole at the most; one more, and the hole counts as lost.
pub(crate) const STASH_MAX: usize = 1_000;

/// What was missed, cut into messages.
#[derive(Debug)]
pub(crate) struct Missed {
    /// The array for `joined`.
    pub(crate) first: Vec<u8>,
    /// Whether it is all.
    pub(crate) whole: bool,
    /// The `comments_batch`es that follow.
    pub(crate) rest: Vec<Vec<u8>>,
}

/// Cuts what was missed into messages: `first_max` comments for `joined`, the rest in batches. Only the last
/// message says where the viewer is after it: one that goes away in between comes back to where it was.
pub(crate) fn cut(
    encoding: Encoding,
    stream: &str,
    comments: &[&[u8]],
    first_max: usize,
    before: &str,
    after: &str,
) -> Missed {
    let (first, rest) = comments.split_at(first_max.min(comments.len()));
    let last = rest.len().div_ceil(MISSED_BATCH_MAX);
    Missed {
        first: array(encoding, first.iter().copied()),
        whole: rest.is_empty(),
        rest: rest
            .chunks(MISSED_BATCH_MAX)
            .enumerate()
            .map(|(i, chunk)| {
                let resume = if i + 1 == last { after } else { before };
                comments_batch(encoding, stream, chunk.iter().copied(), resume)
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(places: &[(&str, u64, u64)]) -> Position {
        let mut position = Position::default();
        for &(region, epoch, seq) in places {
            position.advance(&region.parse().expect("a region"), Offset { epoch, seq });
        }
        position
    }

    #[test]
    fn places_are_compared_region_by_region() {
        let shown = at(&[("eu", 1, 10), ("us", 2, 5)]);
        assert_eq!(plan(&shown, &shown), Plan::After(shown.clone()));
        assert_eq!(
            plan(&at(&[("eu", 1, 3)]), &shown),
            Plan::After(at(&[("eu", 1, 3), ("us", 2, 0)]))
        );
        assert_eq!(
            plan(&at(&[("eu", 9, 3)]), &shown),
            Plan::Newest { gap: true }
        );
        assert_eq!(
            plan(&at(&[("ap", 1, 3)]), &shown),
            Plan::Newest { gap: true }
        );
        assert_eq!(
            plan(&at(&[("eu", 1, 11), ("us", 2, 1)]), &shown),
            Plan::Ahead
        );
    }
}
