//! Metrics of one shard: written only by its thread, read by scrapes.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::component::Stats;
use crate::ws::handshake::Refusal;

/// A number that only one thread writes, with a plain load and store instead of an atomic addition.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Adds to the number.
    pub fn add(&self, by: u64) {
        self.set(self.get().wrapping_add(by));
    }

    /// Sets the number.
    pub fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    /// Reads the number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Buckets of a [`Histogram`]; the last one holds all larger values.
const BUCKETS: usize = 24;

/// A histogram whose bucket bounds are powers of two.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Number; BUCKETS],
    sum: Number,
}

impl Histogram {
    /// Counts one observation.
    pub fn observe(&self, value: u64) {
        let bucket = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].add(1);
        self.sum.add(value);
    }

    /// The buckets as (upper bound, count in this bucket), and the sum of all values. The last bound stands for infinity.
    #[must_use]
    pub fn read(&self) -> (Vec<(f64, u64)>, u64) {
        let buckets = self
            .buckets
            .iter()
            .enumerate()
            .map(|(bucket, number)| {
                let bound = if bucket + 1 == BUCKETS {
                    f64::MAX
                } else {
                    (1u64 << bucket) as f64
                };
                (bound, number.get())
            })
            .collect();
        (buckets, self.sum.get())
    }
}

/// The close codes that have a counter each; any other code counts as 0, the last.
pub const CLOSE_CODES: [u16; 12] = [
    1000, 1001, 1002, 1003, 1007, 1009, 1011, 4401, 4403, 4408, 4429, 0,
];

macro_rules! shard_metrics {
    ($($(#[doc = $help:literal])+ $field:ident,)+) => {
        /// The metrics of a shard.
        #[derive(Debug, Default)]
        pub struct ShardMetrics {
            $($(#[doc = $help])+ pub $field: Number,)+
            /// Upgrades refused, by reason.
            pub refused: [Number; Refusal::ALL.len()],
            /// Connections closed by this side or the peer, by code.
            pub closed: [Number; CLOSE_CODES.len()],
            /// Microseconds that the logic took for a batch of inputs.
            pub handle_us: Histogram,
            /// Inputs of a batch.
            pub handle_inputs: Histogram,
            /// Frames sent with one call of the batch sender.
            pub send_batch: Histogram,
            /// Counters of the component host and of the logic, as of the last tick (1 s).
            pub logic: Mutex<(Stats, BTreeMap<String, u64>)>,
        }

        impl ShardMetrics {
            /// All numbers with names and help texts.
            pub fn numbers(&self) -> impl Iterator<Item = (&'static str, &'static str, &Number)> {
                [$((stringify!($field), concat!($($help),+), &self.$field),)+].into_iter()
            }
        }
    };
}

shard_metrics! {
    /// Open WebSocket connections
    connections,
    /// Topics of the session: streams and users with a member here
    topics,
    /// Bytes in the queues of slow readers
    queue_bytes,
    /// Whether batches go through io_uring (1) or plain sends (0)
    io_uring,
    /// Microseconds that a turn lasts at least, by the load now
    turn_us,
    /// TCP connections accepted
    accepted,
    /// TCP connections dropped at once because the process has too many
    accept_refused,
    /// Times accept failed for want of descriptors or memory
    accept_failed,
    /// TCP connections dropped at once because the shard panicked too often and pauses
    accept_paused,
    /// Panics that cost one connection
    connection_panics,
    /// Panics after which a shard began anew and its viewers were closed with 1001
    shard_panics,
    /// Shards that take no connections for a while because they panicked too often
    shards_paused,
    /// Connections upgraded to WebSockets
    upgraded,
    /// Connections closed because their request or TLS handshake was not whole in time
    opening_timed_out,
    /// Connections closed before their first request was whole, to make room for another
    opening_evicted,
    /// TLS handshakes that failed
    tls_failed,
    /// Requests handed to the HTTP server
    http_handed_over,
    /// Requests dropped because the HTTP server has too many
    http_refused,
    /// Messages from viewers
    messages_in,
    /// Bytes read from viewers
    bytes_in,
    /// Frames written or queued to viewers
    frames_out,
    /// Bytes of frames written or queued to viewers
    bytes_out,
    /// Frames to members of a topic: broadcasts times members
    deliveries,
    /// Broadcasts of the session
    broadcasts,
    /// Sends of the session to one viewer
    sends,
    /// Sends of the session that waited for what else their viewer gets
    sends_held,
    /// Frames that a socket did not take whole at once
    sends_short,
    /// Viewers closed with 4408 because their queue was full
    queue_overflows,
    /// Connections reset because a close frame was not taken or not answered in time
    closing_timed_out,
    /// Viewers closed after 300 s without a sign of life
    silent,
    /// Bytes before compression of what was sent compressed
    deflate_in_bytes,
    /// Bytes after compression of what was sent compressed, once per broadcast
    deflate_out_bytes,
    /// Messages to the backhaul that found its channel full
    backhaul_full,
    /// Outputs of the session that name what is not there
    outputs_stale,
}

impl ShardMetrics {
    /// Counts a closed connection by its code; 0 stands for none.
    pub fn count_closed(&self, code: u16) {
        let index = CLOSE_CODES.iter().position(|one| *one == code);
        self.closed[index.unwrap_or(CLOSE_CODES.len() - 1)].add(1);
    }

    /// Counts a refused upgrade by its reason.
    pub fn count_refused(&self, refusal: Refusal) {
        if let Some(index) = Refusal::ALL.iter().position(|one| *one == refusal) {
            self.refused[index].add(1);
        }
    }
}

/// The numbers that are gauges; the others are counters.
pub(super) const GAUGES: [&str; 6] = [
    "connections",
    "topics",
    "queue_bytes",
    "io_uring",
    "turn_us",
    "shards_paused",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_fall_under_their_upper_bound() {
        let histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 5, u64::MAX / 2] {
            histogram.observe(value);
        }
        let (buckets, _) = histogram.read();
        assert_eq!(&buckets[..4], &[(1.0, 2), (2.0, 1), (4.0, 2), (8.0, 1)]);
        assert_eq!(buckets.last(), Some(&(f64::MAX, 1)));
    }
}
