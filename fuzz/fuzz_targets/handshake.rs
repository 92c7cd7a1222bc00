//! The beginning of a connection: an upgrade, another request, or what is neither.
#![no_main]

#[path = "../ws.rs"]
mod ws;

use libfuzzer_sys::fuzz_target;
use ws::handshake::{Handshake, Origins, look};

fuzz_target!(|bytes: &[u8]| {
    let origins = Origins(Some(vec!["https://video.example".to_owned()]));
    let mut answer = Vec::new();
    match look(bytes, &origins) {
        Handshake::Upgrade(upgrade) => upgrade.write_answer(&mut answer),
        Handshake::Refuse { why, head_only } => why.write_answer(head_only, &mut answer),
        Handshake::Incomplete | Handshake::Other => return,
    }
    assert!(answer.starts_with(b"HTTP/1.1 "));
    assert!(answer.ends_with(b"\r\n\r\n") || answer.windows(4).any(|end| end == b"\r\n\r\n"));
});
