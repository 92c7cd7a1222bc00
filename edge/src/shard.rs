//! A shard: one thread with its own reactor, its own listener on the PoP's port, its share of the connections and one
//! instance of the session's logic.
//!
//! A turn of its loop takes what the sockets and the backhaul brought, hands it to the logic in one batch, carries
//! out what comes back and sends all frames of the turn together.
//!
//! **Invariants**: a shard shares no lock with another; a connection that is idle holds no buffer; a frame for many
//! is built, and compressed, once; each queue is bounded; nothing a peer or the component sends makes it panic, and a
//! panic all the same costs the connection at fault, or the shard's viewers a 1001, never the process.

mod accept;
mod brain;
mod carry;
mod conn;
mod down;
mod ending;
mod engine;
mod flush;
mod held;
mod intake;
mod lives;
mod outbox;
mod pace;
mod queue;
pub mod send;
mod timers;
mod topics;

pub use brain::Brain;
pub use engine::{Shard, ShardSpec, StartError};
pub use queue::QueueBounds;
