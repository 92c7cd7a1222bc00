//! A Chorus PoP: it terminates the viewers' WebSockets, runs the session component and applies its outputs.

// Both macros panic when standard output or error cannot be written.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod backhaul;
pub mod clock;
pub mod component;
pub mod config;
pub mod http;
pub mod link;
pub mod manifest;
pub mod metrics;
mod panics;
pub mod pop;
pub mod shard;
pub mod tls;
pub mod ws;
