//! Loads compiled code; the only place in the host that does.
#![allow(
    unsafe_code,
    reason = "wasmtime cannot check machine code; `cache` hands in only what this user wrote and nobody else can"
)]

use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads machine code that this program compiled earlier.
///
/// The caller guarantees that the bytes come from a directory and a file that only this user can write, and match the
/// digest that was written with them.
pub(super) fn deserialize(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the caller guarantees what the doc comment says; wasmtime checks version, settings and target of the code.
    unsafe { Component::deserialize(engine, bytes) }
}
