//! The component host: compiles the session logic, runs it, recovers it after traps and swaps it.
//!
//! [`Logic`] is a compiled component, shared by all shards. A [`Supervisor`] is one shard's instance of it, with what is
//! needed to recover from a trap: the last snapshot and a journal of the inputs handled since.
//!
//! **Invariant**: nothing of the host is linked into a component: no WASI, no import at all. Nothing else of the
//! PoP names `wasmtime`.

pub mod bindings;
mod bounds;
mod cache;
mod engine;
mod instance;
mod journal;
mod logic;
mod stats;
mod supervisor;
mod trusted;

pub use bindings::exports::chorus::edge::session::{
    Audience, Broadcast, Close, Control, Count, Counted, Delivered, Encoding, Frame, Input, Join,
    Keep, Leave, Opened, Outcome, Output, Publish, Published, Refused, Replay, Replayed, Send,
    Stored, Subscribe, Transport, UserReactions,
};
pub use bounds::Bounds;
pub use instance::{Fault, Instance};
pub use logic::{LoadError, Logic};
pub use stats::Stats;
pub use supervisor::{StartError, Supervisor, SwapError, Verdict};
