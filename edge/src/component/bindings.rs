//! What `wit/edge.wit` says, as Rust types: the one place where the host's bindings are generated.
#![allow(missing_docs, reason = "generated; documented in wit/edge.wit")]
#![allow(unreachable_pub, reason = "generated")]
#![allow(clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "session-component",
});
