//! A shard over real sockets: the frames, the fan-out, the bounds and the ends of connections.
//!
//! The session logic is a small scripted one, so that each test controls its outputs; the real component runs in the
//! end-to-end tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "shard/bounds.rs"]
mod bounds;
#[path = "shard/client.rs"]
mod client;
#[path = "shard/conformance.rs"]
mod conformance;
#[path = "shard/ending.rs"]
mod ending;
#[path = "shard/fanout.rs"]
mod fanout;
#[path = "shard/harness.rs"]
mod harness;
#[path = "shard/http.rs"]
mod http;
#[path = "shard/logic.rs"]
mod logic;
#[path = "shard/panics.rs"]
mod panics;
#[path = "shard/records.rs"]
mod records;
#[path = "shard/telling.rs"]
mod telling;
#[path = "shard/tls.rs"]
mod tls;
#[path = "shard/used.rs"]
mod used;
