//! What `wit/edge.wit` says, as Rust types: the one place where the component's bindings are generated.
#![allow(missing_docs, reason = "generated; documented in wit/edge.wit")]
#![allow(unreachable_pub, unsafe_code, reason = "generated")]
#![allow(clippy::all, reason = "generated")]

wit_bindgen::generate!({
    path: "../../wit",
    world: "session-component",
    pub_export_macro: true,
});
