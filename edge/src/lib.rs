//! A Chorus PoP: it terminates the viewers' WebSockets, runs the session component and carries out what it decides.

// Both panic when nobody takes what is printed.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod backhaul;
pub mod component;
pub mod config;
pub mod http;
pub mod link;
pub mod manifest;
pub mod metrics;
pub mod pop;
pub mod shard;
pub mod tls;
pub mod ws;
