//! What the backhaul counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident: $kind:ident, $help:literal;)*) => {
        /// The backhaul's numbers; a clone of the `Arc` is read by whoever serves `/metrics`.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $(#[doc = $help] pub $name: AtomicU64,)*
        }

        impl Metrics {
            /// Hands every number out: its name, what it says, its kind and its value.
            pub fn each(&self, mut out: impl FnMut(&'static str, &'static str, Kind, u64)) {
                $(out(stringify!($name), $help, Kind::$kind, self.$name.load(Relaxed));)*
            }
        }
    };
}

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
}

metrics! {
    connected: Gauge, "Whether a gateway is connected";
    connects: Counter, "Connections to a gateway that were welcomed";
    connect_failures: Counter, "Attempts to connect that failed";
    moves: Counter, "Moves to a gateway that was found nearer than the connected one";
    rtt_us: Gauge, "Round trip to the gateway in microseconds";
    turn_us: Gauge, "Microseconds that a turn of the backhaul's thread lasts at least, by the load now";
    lease_worker: Gauge, "The worker id leased";
    lease_until_ms: Gauge, "Until when it is leased, milliseconds since 1970 by this process's clock";
    clock_corrections: Counter, "Times this process's clock was set by the gateway's because they differed by more than 500 ms";
    clock_wrong_ms: Gauge, "Milliseconds by which this machine's clock is ahead of the gateway's or behind it, where it was corrected";
    streams_held: Gauge, "Streams held at the gateway";
    deliveries: Counter, "Deliveries passed on to shards";
    deliveries_repeated: Counter, "Deliveries that brought nothing new";
    deliveries_early: Counter, "Deliveries that overtook those before them and waited";
    holes: Counter, "Deliveries that did not follow the one before, so that the stream was asked for again";
    gaps: Counter, "Streams that could not be resumed";
    lives: Counter, "Changes of streams themselves (status, title, settings) passed on to shards";
    posts: Counter, "Posts taken from shards";
    posts_waiting: Gauge, "Posts waiting for the log";
    posts_refused: Counter, "Posts refused because too many were waiting, or none could leave in time";
    posts_resent: Counter, "Posts sent again under the same key";
    posts_unconfirmed: Counter, "Posts whose outcome is not known";
    reactions_resent: Counter, "Reaction increments sent again under the same key";
    reactions_dropped: Counter, "Reactions that could not be handed in";
    reactions_refused: Counter, "Reactions the gateway did not add because their users' limits were used up";
    replays: Counter, "Replays asked for by shards";
    replays_cached: Counter, "Replays answered from the cache";
    replays_joined: Counter, "Replays that shared another's answer";
    replays_failed: Counter, "Replays answered as a gap because the gateway did not answer";
    states_cached: Counter, "Subscriptions answered from the cache";
    rest_calls: Counter, "REST calls passed to the gateway";
    rest_failures: Counter, "REST calls that could not be answered";
    pops_stale: Counter, "Answers on which PoPs there are that could not be asked of the gateway";
    panics: Counter, "Panics of a lane, which cost its connection to the gateway, or of the whole backhaul, which cost all viewers a reconnect";
    malformed: Counter, "Messages and lanes of the gateway that could not be read";
    messages_unknown: Counter, "Messages of the gateway that are of a later version and were passed over";
}

pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}

pub(super) fn set(gauge: &AtomicU64, to: u64) {
    gauge.store(to, Relaxed);
}
