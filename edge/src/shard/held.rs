//! Frames that wait a moment for what else their connection gets: a busy shard's receipts.
//!
//! A post is told of twice, when it is taken and when the log has it, a few milliseconds later. Each packet of its own
//! costs both ends as much as all that is decided about the post, so a busy shard lets the first wait for the second.

use std::collections::VecDeque;

/// Turns that a frame waits at most: the backhaul's thread, the gateway's and the shard's own each take up to one.
const TURNS_MAX: u64 = 3;
/// Connections with frames that wait; at the bound those of others are sent at once.
const HELD_MAX: usize = 1_024;

/// What waits for one connection.
#[derive(Debug)]
struct Held {
    slot: u32,
    /// The turn in which it came.
    turn: u64,
    /// The whole frame, not yet sealed.
    bytes: Vec<u8>,
}

/// All that waits, the oldest first.
#[derive(Debug, Default)]
pub(super) struct HeldFrames(VecDeque<Held>);

impl HeldFrames {
    /// Whether one more connection's frames may wait.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < HELD_MAX
    }

    /// Lets a frame of a connection wait that has none waiting.
    pub(super) fn add(&mut self, slot: usize, turn: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let slot = slot as u32;
        let mut bytes = Vec::with_capacity(128);
        write(&mut bytes);
        self.0.push_back(Held { slot, turn, bytes });
    }

    /// Takes what waits for a connection.
    pub(super) fn take(&mut self, slot: usize) -> Option<Vec<u8>> {
        let at = (self.0.iter()).position(|held| held.slot as usize == slot)?;
        Some(self.0.remove(at)?.bytes)
    }

    /// The connection whose frame has waited for long enough in this turn.
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
        let mut held = HeldFrames::default();
        held.add(5, 1, |into| into.extend_from_slice(b"a"));
        held.add(6, 2, |into| into.extend_from_slice(b"b"));
        assert_eq!(held.due(3), None);
        assert_eq!(held.due(4), Some(5));
        assert_eq!(held.take(5), Some(b"a".to_vec()));
        assert_eq!(held.take(5), None);
        assert_eq!(held.due(4), None);
        assert_eq!(held.due(5), Some(6));
        assert_eq!(held.take(6), Some(b"b".to_vec()));
        assert!(held.is_empty());
    }
}
