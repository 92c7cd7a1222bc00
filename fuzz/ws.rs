//! The edge's WebSocket modules by themselves: its crate would bring a whole wasmtime into every fuzz build.
#![allow(dead_code, reason = "each target uses its part")]

#[path = "../edge/src/ws/code.rs"]
pub mod code;
#[path = "../edge/src/ws/deflate.rs"]
pub mod deflate;
#[path = "../edge/src/ws/frame.rs"]
pub mod frame;
#[path = "../edge/src/ws/handshake.rs"]
pub mod handshake;
#[path = "../edge/src/ws/head.rs"]
pub mod head;
#[path = "../edge/src/ws/offer.rs"]
pub mod offer;
#[path = "../edge/src/ws/reader.rs"]
pub mod reader;
