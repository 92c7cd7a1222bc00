//! The one place that takes bytes for compiled code.
#![allow(
    unsafe_code,
    reason = "wasmtime cannot check machine code; `cache` hands in only what this user wrote and nobody else can"
)]

use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads machine code that this program compiled earlier.
///
/// The caller vouches for the bytes: they come from a directory and a file that only this user can write, and their
/// digest is the one that was written with them.
pub(super) fn deserialize(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: see above; wasmtime itself checks version, settings and target of the artefact.
    unsafe { Component::deserialize(engine, bytes) }
}
