//! What shards and the backhaul tell each other inside a PoP.
//!
//! A shard is a thread with a reactor of its own; the backhaul lives on the process's Tokio runtime. Between them
//! are one channel up for all shards and one channel down for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::backhaul::{RefusedReactions, StreamState, UserReactions};
use chorus_protocol::server::Reactions;
use chorus_protocol::session::ReplayRange;
use chorus_protocol::stream::Life;
use chorus_protocol::{Millis, Outcome, StreamId};

use crate::backhaul::ShardSender;
use crate::component::Logic;
use crate::http::Handover;

/// A shard's number in this process, 0 to 15.
pub type ShardId = u8;

/// From a shard to the backhaul.
#[derive(Debug)]
pub enum ToBackhaul {
    /// Hold a stream for this shard; answered by [`ToShard::State`], then [`ToShard::Delivered`].
    Subscribe {
        /// Who asks.
        shard: ShardId,
        /// Which.
        stream: StreamId,
    },
    /// This shard has no viewer of it any more.
    Unsubscribe {
        /// Who says so.
        shard: ShardId,
        /// Which.
        stream: StreamId,
    },
    /// Write an event to the log; answered by [`ToShard::Published`].
    Publish {
        /// Who asks.
        shard: ShardId,
        /// The session's number for it.
        request: u64,
        /// The event's body.
        event: Vec<u8>,
    },
    /// What a shard adds to the counts.
    Count {
        /// Who counts.
        shard: ShardId,
        /// Of which stream.
        stream: StreamId,
        /// Reactions since the last time, of those whom no limit holds.
        reactions: Reactions,
        /// And of the others.
        users: Vec<UserReactions>,
        /// Viewers in this shard now, when that changed.
        viewers: Option<u64>,
    },
    /// This shard begins anew after a panic: what it asked for before is void, and it is told again what every shard
    /// is told of the lease and of the gateway.
    Restarted {
        /// Who says so.
        shard: ShardId,
    },
    /// What the logs hold in a range; answered by [`ToShard::Replayed`].
    Replay {
        /// Who asks.
        shard: ShardId,
        /// The session's number for it.
        request: u64,
        /// Of which stream.
        stream: StreamId,
        /// The range.
        range: ReplayRange,
    },
}

/// To a shard, from the backhaul or from whoever runs the process.
#[derive(Debug)]
pub enum ToShard {
    /// The answer to a subscription, and said again after a gap. `None`: there is no such stream.
    State {
        /// Which.
        stream: StreamId,
        /// How it stands.
        state: Option<Arc<StreamState>>,
    },
    /// The stream itself changed: its status, title or settings.
    Life {
        /// Which.
        stream: StreamId,
        /// As it stands now, the same for every shard.
        life: Arc<Life>,
    },
    /// New events: a `chorus_protocol::session::Delivery` as MessagePack, in order and without a hole since the state.
    Delivered {
        /// Of which stream.
        stream: StreamId,
        /// The same bytes for every shard.
        data: Bytes,
    },
    /// A `chorus_protocol::session::Replayed` as MessagePack.
    Replayed {
        /// The session's number for it.
        request: u64,
        /// The same bytes for all that asked for the same range.
        data: Bytes,
    },
    /// How publications came out.
    Published(Vec<(u64, Outcome)>),
    /// Reactions that were not added: their users' limits were used up.
    ReactionsRefused(Arc<[RefusedReactions]>),
    /// Totals over all shards and PoPs, as far as they changed.
    Counted {
        /// Of which stream.
        stream: StreamId,
        /// Running totals.
        reactions: Reactions,
        /// Viewers at all PoPs.
        viewers: Option<u64>,
    },
    /// The right to mint ids.
    Lease {
        /// The worker number.
        worker: u16,
        /// Not valid from this time on, by this process's clock.
        until: Millis,
    },
    /// Whether a gateway is connected.
    Connected(bool),
    /// The backhaul panicked and begins anew: what this shard asked of it is void, so the shard begins anew too.
    BackhaulLost,
    /// New keys, limits or batching: a `SessionConfig` as JSON.
    Configured(Bytes),
    /// Replace the logic under the open connections; the answer says how it went.
    Swap {
        /// The new logic.
        logic: Arc<Logic>,
        /// Told when it is done: `Err` says why the old logic goes on.
        done: tokio::sync::oneshot::Sender<Result<(), String>>,
    },
    /// A connection that the HTTP server was given, with a request that is a shard's.
    Returned(Box<Handover>),
    /// Refuse upgrades and close the viewers evenly over a time. A later one replaces the time.
    Drain {
        /// The time; at its end what is left is closed.
        grace: Duration,
    },
}

/// Messages that may wait on the way up; a shard that finds the channel full keeps subscriptions and counts for its
/// next turn and refuses posts with `unavailable`.
pub const TO_BACKHAUL_MAX: usize = 65_536;
/// Messages that may wait on the way down to one shard. Beyond, totals are dropped (the next ones make good) and the
/// backhaul waits with the rest, so that its lanes wait too: a shard never waits for the backhaul.
pub const TO_SHARD_MAX: usize = 8_192;

/// The way up: one for all shards.
pub type BackhaulSender = tokio::sync::mpsc::Sender<ToBackhaul>;
/// The way up's end, with the backhaul.
pub type BackhaulReceiver = tokio::sync::mpsc::Receiver<ToBackhaul>;

/// The way up, with its bound.
#[must_use]
pub fn to_backhaul() -> (BackhaulSender, BackhaulReceiver) {
    tokio::sync::mpsc::channel(TO_BACKHAUL_MAX)
}

/// Wakes a sleeping shard, with one system call however often it is rung before the shard looks.
#[derive(Debug)]
pub struct Bell {
    waker: mio::Waker,
    rung: AtomicBool,
}

impl Bell {
    /// A bell on a shard's reactor.
    #[must_use]
    pub fn new(waker: mio::Waker) -> Self {
        Self {
            waker,
            rung: AtomicBool::new(false),
        }
    }

    /// Wakes the shard.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a shard could not be woken");
        }
    }

    /// The shard is awake and is about to look at its channel.
    pub fn heard(&self) {
        // A swap and no store: whatever was put into the channel before a ring that this takes back is seen.
        self.rung.swap(false, Ordering::AcqRel);
    }

    /// The shard rests for a moment and looks at its channel then in any case, once it has [`Self::heard`]: until then
    /// nobody needs to wake it.
    pub fn rest(&self) {
        self.rung.swap(true, Ordering::AcqRel);
    }
}

/// The way down to one shard.
#[derive(Clone, Debug)]
pub struct ShardHandle {
    channel: mpsc::SyncSender<ToShard>,
    bell: Arc<Bell>,
}

impl ShardHandle {
    /// The two ends of the way down; `bell` wakes the shard's reactor.
    #[must_use]
    pub fn channel(bell: Arc<Bell>) -> (Self, mpsc::Receiver<ToShard>) {
        let (channel, receiver) = mpsc::sync_channel(TO_SHARD_MAX);
        (Self { channel, bell }, receiver)
    }

    /// Hands a message over, or drops it when the shard has ended; see [`TO_SHARD_MAX`] for a way that is full.
    pub fn send(&self, message: ToShard) {
        self.put(message);
        self.bell.ring();
    }

    /// Hands a message over if there is room at once.
    ///
    /// # Errors
    /// The message, when there is none or the shard has ended.
    pub fn offer(&self, message: ToShard) -> Result<(), ToShard> {
        let offered = self.channel.try_send(message);
        self.bell.ring();
        offered.map_err(|error| match error {
            mpsc::TrySendError::Full(message) | mpsc::TrySendError::Disconnected(message) => {
                message
            }
        })
    }

    fn put(&self, message: ToShard) {
        match self.channel.try_send(message) {
            Ok(())
            | Err(
                mpsc::TrySendError::Disconnected(_)
                | mpsc::TrySendError::Full(ToShard::Counted { .. }),
            ) => {}
            Err(mpsc::TrySendError::Full(message)) => {
                self.bell.ring();
                // An error says that the shard has ended, and with it the process.
                let _ = self.channel.send(message);
            }
        }
    }
}

impl ShardSender for ShardHandle {
    fn send(&self, message: ToShard) {
        Self::send(self, message);
    }

    fn send_all(&self, messages: &mut Vec<ToShard>) {
        for message in messages.drain(..) {
            self.put(message);
        }
        self.bell.ring();
    }
}
