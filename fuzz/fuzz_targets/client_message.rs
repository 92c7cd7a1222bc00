//! A client's message in both encodings: reading never panics, the quick reader says what the whole one says, and what
//! was read is written and read the same.
#![no_main]

#[path = "../exact.rs"]
mod exact;

use chorus_protocol::Encoding;
use chorus_protocol::codec::{decode_client, decode_hot, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for encoding in Encoding::ALL {
        if let Some(hot) = decode_hot(encoding, bytes) {
            let message = hot.message().expect("it reads only ids that are ids");
            assert_eq!(decode_client(encoding, bytes), Ok(message));
        }
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
