//! A shard: one thread with its own reactor, its own listener on the PoP's port, its share of the connections and one
//! instance of the session's logic.
//!
//! One turn of its loop reads the sockets and the messages of the backhaul, passes them to the logic as one batch of
//! inputs, applies the outputs and sends all frames of the turn together.
//!
//! **Invariants**: a shard shares no lock with another shard; an idle connection holds no buffer; a frame for many
//! members is built, and compressed, once; each queue is bounded; no bytes of a peer or of the component make it panic.
//! If it panics anyway, the panic closes the connection whose bytes were read, or all viewers of the shard with 1001; the
//! process goes on.

mod accept;
mod apply;
mod conn;
mod deferred;
mod ending;
mod engine;
mod flush;
mod logic;
mod messages;
mod outbox;
mod pace;
mod queue;
mod read;
mod restart;
pub mod send;
mod timers;
mod topics;

pub use engine::{Shard, ShardSpec, StartError};
pub use logic::SessionLogic;
pub use queue::QueueBounds;
