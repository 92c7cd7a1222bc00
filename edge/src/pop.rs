//! The process of a PoP: shards, backhaul and HTTP server, from start to drain.

mod listen;
mod run;
mod signals;
mod state;

pub use run::{PopError, run};
pub use state::PopState;
