//! A PoP put together: shards, backhaul and HTTP server in one process, from start to drain.

mod listen;
mod run;
mod signals;
mod state;

pub use run::{PopError, run};
pub use state::PopState;
