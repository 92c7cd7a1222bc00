//! Deferred frames: receipts that a busy shard sends together with the next frame of the same connection.
//!
//! A post has two receipts, `accepted` and, when the log has stored it a few milliseconds later, `durable`. A packet costs
//! both ends as much CPU as all decisions about the post, so a busy shard defers the first and sends both in one packet.

use std::collections::VecDeque;

/// Turns that a frame is deferred at most: the backhaul's thread, the gateway's and the shard each take up to one.
const TURNS_MAX: u64 = 3;
/// Connections with a deferred frame; at the bound frames of further connections are sent at once.
const DEFERRED_MAX: usize = 1_024;

/// The deferred frame of one connection.
#[derive(Debug)]
struct Deferred {
    slot: u32,
    /// The turn in which it was deferred.
    turn: u64,
    /// The complete frame, not encrypted.
    bytes: Vec<u8>,
}

/// The deferred frames of a shard, oldest first.
#[derive(Debug, Default)]
pub(super) struct DeferredFrames(VecDeque<Deferred>);

impl DeferredFrames {
    /// Whether one more frame can be deferred.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < DEFERRED_MAX
    }

    /// Defers a frame of a connection that has no deferred frame.
    pub(super) fn add(&mut self, slot: usize, turn: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let slot = slot as u32;
        let mut bytes = Vec::with_capacity(128);
        write(&mut bytes);
        self.0.push_back(Deferred { slot, turn, bytes });
    }

    /// Removes the deferred frame of a connection.
    pub(super) fn remove(&mut self, slot: usize) -> Option<Vec<u8>> {
        let at = (self.0.iter()).position(|deferred| deferred.slot as usize == slot)?;
        Some(self.0.remove(at)?.bytes)
    }

    /// The slot of the oldest frame if it was deferred [`TURNS_MAX`] turns ago.
    pub(super) fn due(&self, turn: u64) -> Option<usize> {
        let oldest = self.0.front()?;
        (oldest.turn + TURNS_MAX <= turn).then_some(oldest.slot as usize)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_wait_in_order_and_no_longer_than_they_may() {
        let mut deferred = DeferredFrames::default();
        deferred.add(5, 1, |into| into.extend_from_slice(b"a"));
        deferred.add(6, 2, |into| into.extend_from_slice(b"b"));
        assert_eq!(deferred.due(3), None);
        assert_eq!(deferred.due(4), Some(5));
        assert_eq!(deferred.remove(5), Some(b"a".to_vec()));
        assert_eq!(deferred.remove(5), None);
        assert_eq!(deferred.due(4), None);
        assert_eq!(deferred.due(5), Some(6));
        assert_eq!(deferred.remove(6), Some(b"b".to_vec()));
        assert!(deferred.is_empty());
    }
}
