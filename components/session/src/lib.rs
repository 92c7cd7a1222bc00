//! The session component: what `wit/edge.wit` asks for, carried out by `chorus-session-core`.
//!
//! **Invariant**: the component imports nothing. `cargo xtask component` builds it and checks that.
#![cfg(target_arch = "wasm32")]

mod bindings;
mod convert;
#[cfg(feature = "fault")]
mod fault;

use std::cell::RefCell;

use bindings::exports::chorus::edge::session::{Guest, Input, Output};
use chorus_protocol::Millis;
use chorus_session_core::Session;

/// Messages are many small allocations: this one is smaller and quicker than the default's dlmalloc.
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

thread_local! {
    /// The one session of this instance.
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
}

struct Component;

impl Guest for Component {
    fn init(config: Vec<u8>, seed: u64) -> Result<(), String> {
        let session = Session::init(&config, seed).map_err(|error| error.to_string())?;
        SESSION.set(Some(session));
        Ok(())
    }

    fn handle(now: u64, inputs: Vec<Input>) -> Vec<Output> {
        #[cfg(feature = "fault")]
        inputs.iter().for_each(fault::obey);
        let inputs: Vec<_> = inputs.into_iter().map(convert::input).collect();
        let mut outputs = Vec::with_capacity(2 * inputs.len());
        SESSION.with_borrow_mut(|session| {
            // Before `init` there is nothing to decide.
            if let Some(session) = session {
                session.handle(Millis(now), inputs, &mut outputs);
            }
        });
        outputs.into_iter().map(convert::output).collect()
    }

    fn snapshot() -> Vec<u8> {
        SESSION.with_borrow(|session| session.as_ref().map(Session::snapshot).unwrap_or_default())
    }

    fn restore(bytes: Vec<u8>) -> Result<(), String> {
        #[cfg(feature = "fault")]
        fault::mind(&bytes);
        let session = Session::restore(&bytes).map_err(|error| error.to_string())?;
        SESSION.set(Some(session));
        Ok(())
    }

    fn stats() -> Vec<(String, u64)> {
        SESSION.with_borrow(|session| {
            let named = session
                .as_ref()
                .map(|session| session.stats().named())
                .unwrap_or_default();
            named
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .collect()
        })
    }
}

mod exported {
    #![allow(
        unsafe_code,
        unreachable_pub,
        reason = "generated: the canonical ABI's entry points"
    )]
    use super::{Component, bindings};
    bindings::export!(Component with_types_in bindings);
}

/// Verifying tokens needs no randomness, and there is none to be had here.
fn no_randomness(_: &mut [u8]) -> Result<(), getrandom::Error> {
    Err(getrandom::Error::UNSUPPORTED)
}

getrandom::register_custom_getrandom!(no_randomness);
