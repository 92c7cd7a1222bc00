//! A client's message in both encodings: reading never panics, and what was read is written and read the same.
#![no_main]

#[path = "../exact.rs"]
mod exact;

use chorus_protocol::Encoding;
use chorus_protocol::codec::{decode_client, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for encoding in Encoding::ALL {
        let Ok(message) = decode_client(encoding, bytes) else {
            continue;
        };
        let exactly = !exact::has_float(&message);
        for other in Encoding::ALL {
            let mut written = Vec::new();
            encode(other, &message, &mut written).expect("what was read can be written");
            match decode_client(other, &written) {
                Ok(again) => assert!(!exactly || again == message, "{message:?} became {again:?}"),
                // JSON may nest deeper than MessagePack.
                Err(error) => assert_ne!(other, encoding, "{error}"),
            }
        }
    }
});
