//! The session logic of a PoP's shard: who may watch and write, what is refused, how comments are grouped and
//! encoded, who missed what.
//!
//! A sans-IO state machine: [`Session::handle`] takes [`Input`]s with the time and appends [`Output`]s.
//!
//! **Invariant**: no clock, no randomness, no environment. The same inputs always give the same outputs, also
//! after [`Session::snapshot`] and [`Session::restore`]. No iteration order of a hash table reaches an output.

mod config;
mod conn;
mod conns;
mod encode;
mod io;
mod keyed;
mod mint;
mod pending;
mod posts;
mod present;
mod rate;
mod session;
mod snapshot;
mod stats;
mod stream;
mod streams;
mod timers;
mod users;

pub use chorus_protocol::Outcome;
pub use config::ConfigError;
pub use io::{
    Audience, BlobId, ConnectionId, Input, Opened, Output, RequestId, TopicId, Transport,
};
pub use session::Session;
pub use snapshot::RestoreError;
pub use stats::Stats;
