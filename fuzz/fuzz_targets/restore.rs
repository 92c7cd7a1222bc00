//! A snapshot that may not be one: refused, or taken over and used without a panic.
#![no_main]

use chorus_protocol::Millis;
use chorus_session_core::{Input, Session};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(mut session) = Session::restore(data) {
        session.handle(Millis(2_000_000_000_000), vec![Input::Timer, Input::Closed(1)], &mut Vec::new());
        let _ = session.snapshot();
    }
});
