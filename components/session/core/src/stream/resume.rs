//! What a viewer that comes back has missed, and those that wait for the answer.

use chorus_protocol::codec::encode;
use chorus_protocol::event::CommentUpdate;
use chorus_protocol::server::ServerMessage;
use chorus_protocol::{CommentId, Encoding, Millis, Offset, Position, StreamId};
use serde::{Deserialize, Serialize};

use super::Waiter;
use crate::encode::{array, comments_batch};
use crate::io::{ConnectionId, RequestId};

/// How long a viewer that is ahead of this PoP waits for it, in milliseconds; then its place cannot be confirmed.
pub(crate) const AHEAD_MS_MAX: u64 = 2_000;
/// How long a question to the logs may stay unanswered, in milliseconds.
pub(crate) const REPLAY_MS_MAX: u64 = 10_000;
/// Comments in one message that brings what was missed.
const MISSED_BATCH_MAX: usize = 500;
// Not more than what one broadcast may hold by default.
const _: () = assert!(MISSED_BATCH_MAX <= 500);

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
pub(crate) struct Pieces {
    /// The array for `joined`.
    pub(crate) first: Vec<u8>,
    /// Whether it is all.
    pub(crate) whole: bool,
    /// The messages that follow: updates, then `comments_batch`es.
    pub(crate) rest: Vec<Vec<u8>>,
}

/// How to cut what was missed into messages. Only the last one says where the viewer is after it: one that goes away in
/// between comes back to where it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut<'a> {
    pub(crate) encoding: Encoding,
    pub(crate) stream: &'a StreamId,
    /// Of comments that the viewer has.
    pub(crate) updated: &'a [(CommentId, CommentUpdate)],
    /// Comments in `joined`.
    pub(crate) first_max: usize,
    pub(crate) before: &'a str,
    pub(crate) after: &'a str,
}

impl Cut<'_> {
    /// The messages of some comments; `says_place`: also when there is nothing behind `joined`.
    pub(crate) fn of(&self, comments: &[&[u8]], says_place: bool) -> Pieces {
        let batch = |comments: &[&[u8]], resume| {
            let comments = comments.iter().copied();
            comments_batch(self.encoding, self.stream.as_str(), comments, resume)
        };
        let (first, rest) = comments.split_at(self.first_max.min(comments.len()));
        let mut messages: Vec<Vec<u8>> = self.updates().collect();
        let mut chunks = rest.chunks(MISSED_BATCH_MAX).peekable();
        if chunks.peek().is_none() && (says_place || !messages.is_empty()) {
            messages.push(batch(&[], self.after));
        }
        while let Some(chunk) = chunks.next() {
            let last = chunks.peek().is_none();
            messages.push(batch(chunk, if last { self.after } else { self.before }));
        }
        Pieces {
            first: array(self.encoding, first.iter().copied()),
            whole: messages.is_empty(),
            rest: messages,
        }
    }

    fn updates(&self) -> impl Iterator<Item = Vec<u8>> {
        self.updated.iter().map(|&(comment_id, update)| {
            let message = ServerMessage::CommentUpdated {
                stream_id: self.stream.clone(),
                comment_id,
                update,
            };
            let mut data = Vec::new();
            // Ids and flags can be written.
            let _ = encode(self.encoding, &message, &mut data);
            data
        })
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
