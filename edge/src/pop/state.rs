//! What the parts of a process share: a few numbers, no lock.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use chorus_protocol::Millis;

/// Sockets beyond `connections_max`: requests, handshakes, and viewers on their way to a 4429.
const SOCKETS_BEYOND_MAX: usize = 2_048;

/// How the process stands.
#[derive(Debug)]
pub struct PopState {
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
    /// A PoP that takes this many viewers, not ready yet.
    #[must_use]
    pub fn new(connections_max: usize) -> Self {
        Self {
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

    /// Counts a socket in, unless there are too many.
    pub fn count_socket(&self) -> bool {
        count_up_to(&self.sockets, self.connections_max + SOCKETS_BEYOND_MAX)
    }

    /// A shard gave a socket up.
    pub fn socket_closed(&self) {
        self.sockets.fetch_sub(1, Relaxed);
    }

    /// Counts a viewer in, unless there are too many.
    pub fn count_viewer(&self) -> bool {
        count_up_to(&self.viewers, self.connections_max)
    }

    /// A viewer that was counted is gone.
    pub fn viewer_left(&self) {
        self.viewers.fetch_sub(1, Relaxed);
    }

    /// Sockets that the shards have now.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.load(Relaxed)
    }

    /// Viewers counted in now.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.viewers.load(Relaxed)
    }

    /// A gateway is connected, or none is.
    pub fn connected(&self, connected: bool) {
        self.connected.store(connected, Relaxed);
    }

    /// Comment ids may be minted until then.
    pub fn leased(&self, until: Millis) {
        self.lease_until.store(until.0, Relaxed);
    }

    /// A shard begins to serve.
    pub fn shard_began(&self) {
        self.shards.fetch_add(1, Relaxed);
    }

    /// A shard has ended.
    pub fn shard_ended(&self) {
        self.shards.fetch_sub(1, Relaxed);
    }

    /// A shard takes no connection for a while, because it panicked too often.
    pub fn shard_paused(&self) {
        self.paused.fetch_add(1, Relaxed);
    }

    /// It takes connections again.
    pub fn shard_resumed(&self) {
        self.paused.fetch_sub(1, Relaxed);
    }

    /// The end has begun.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether viewers may come: a gateway is connected, a lease is held, no drain has begun, and not all shards pause.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            });
        let paused = self.paused.load(Relaxed);
        !self.is_draining()
            && (paused == 0 || paused < self.shards.load(Relaxed))
            && self.connected.load(Relaxed)
            && self.lease_until.load(Relaxed) > now
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
