//! The Rust types of `wit/edge.wit`, generated here and nowhere else in the host.
#![allow(missing_docs, reason = "generated; documented in wit/edge.wit")]
#![allow(unreachable_pub, reason = "generated")]
#![allow(clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "session-component",
});
