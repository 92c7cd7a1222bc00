//! Counters and states that the parts of a process share, without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use chorus_protocol::Millis;

use crate::clock::Clock;

/// Sockets beyond `connections_max`, for requests, handshakes, and viewers that are being closed with 4429.
const SOCKETS_BEYOND_MAX: usize = 2_048;

/// The state of the process: its sockets, viewers and shards, and whether it can serve viewers.
#[derive(Debug)]
pub struct PopState {
    clock: Arc<Clock>,
    connections_max: usize,
    sockets: AtomicUsize,
    viewers: AtomicUsize,
    connected: AtomicBool,
    lease_until: AtomicU64,
    draining: AtomicBool,
    shards: AtomicUsize,
    paused: AtomicUsize,
}

impl PopState {
    /// A PoP for this many viewers, not ready yet.
    #[must_use]
    pub fn new(connections_max: usize) -> Self {
        Self {
            clock: Arc::default(),
            connections_max,
            sockets: AtomicUsize::new(0),
            viewers: AtomicUsize::new(0),
            connected: AtomicBool::new(false),
            lease_until: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            shards: AtomicUsize::new(0),
            paused: AtomicUsize::new(0),
        }
    }

    /// The clock of all parts of the process.
    #[must_use]
    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Counts a new socket of the shards; `false` when there are too many.
    pub fn count_socket(&self) -> bool {
        count_up_to(&self.sockets, self.connections_max + SOCKETS_BEYOND_MAX)
    }

    /// Counts a socket that a shard closed or handed over.
    pub fn socket_closed(&self) {
        self.sockets.fetch_sub(1, Relaxed);
    }

    /// Counts a new viewer; `false` when there are too many.
    pub fn count_viewer(&self) -> bool {
        count_up_to(&self.viewers, self.connections_max)
    }

    /// Counts out a viewer that was counted.
    pub fn viewer_left(&self) {
        self.viewers.fetch_sub(1, Relaxed);
    }

    /// Sockets of all shards now.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.load(Relaxed)
    }

    /// Viewers of all shards now.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.viewers.load(Relaxed)
    }

    /// Sets whether a gateway is connected.
    pub fn connected(&self, connected: bool) {
        self.connected.store(connected, Relaxed);
    }

    /// Sets the end of the lease until which comment ids may be minted.
    pub fn leased(&self, until: Millis) {
        self.lease_until.store(until.0, Relaxed);
    }

    /// Counts a shard that starts.
    pub fn shard_began(&self) {
        self.shards.fetch_add(1, Relaxed);
    }

    /// Counts out a shard that ended.
    pub fn shard_ended(&self) {
        self.shards.fetch_sub(1, Relaxed);
    }

    /// Counts a shard that drops new connections because it panicked too often.
    pub fn shard_paused(&self) {
        self.paused.fetch_add(1, Relaxed);
    }

    /// Counts out a paused shard that accepts connections again.
    pub fn shard_resumed(&self) {
        self.paused.fetch_sub(1, Relaxed);
    }

    /// Marks the start of the drain.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether the drain has started.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether viewers can be served: a gateway is connected, the lease is valid, no drain has started, and at least one
    /// shard is not paused.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let paused = self.paused.load(Relaxed);
        !self.is_draining()
            && (paused == 0 || paused < self.shards.load(Relaxed))
            && self.connected.load(Relaxed)
            && self.lease_until.load(Relaxed) > self.clock.now().0
    }
}

fn count_up_to(count: &AtomicUsize, max: usize) -> bool {
    let taken = count.fetch_add(1, Relaxed) < max;
    if !taken {
        count.fetch_sub(1, Relaxed);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_are_taken_up_to_the_bound() {
        let pop = PopState::new(1);
        assert!(pop.count_viewer());
        assert!(!pop.count_viewer());
        pop.viewer_left();
        assert!(pop.count_viewer());
    }

    #[test]
    fn ready_means_connected_with_a_lease_and_not_draining() {
        let pop = PopState::new(1);
        pop.connected(true);
        assert!(!pop.is_ready());
        pop.leased(Millis(u64::MAX));
        assert!(pop.is_ready());
        pop.connected(false);
        assert!(!pop.is_ready());
        pop.connected(true);
        pop.shard_began();
        pop.shard_began();
        pop.shard_paused();
        assert!(pop.is_ready(), "the other shard serves");
        pop.shard_paused();
        assert!(!pop.is_ready(), "no shard serves");
        pop.shard_resumed();
        assert!(pop.is_ready());
        pop.drain();
        assert!(!pop.is_ready());
    }
}
