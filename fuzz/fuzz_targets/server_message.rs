//! A server's message in both encodings, as clients read it.
#![no_main]

#[path = "../exact.rs"]
mod exact;

use chorus_protocol::Encoding;
use chorus_protocol::codec::{decode_server, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for encoding in Encoding::ALL {
        let Ok(message) = decode_server(encoding, bytes) else {
            continue;
        };
        let mut written = Vec::new();
        encode(encoding, &message, &mut written).expect("what was read can be written");
        let again = decode_server(encoding, &written).expect("what was written can be read");
        let exactly = !exact::has_float(&message);
        assert!(!exactly || again == message, "{message:?} became {again:?}");
    }
});
