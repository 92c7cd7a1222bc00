//! A client's message in both encodings: reading never panics, the quick reader says what the whole one says, what was
//! read is written and read the same, and what a ping carries is a part of the message.
#![no_main]

use chorus_protocol::Encoding;
use chorus_protocol::client::ClientMessage;
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
        if let ClientMessage::Ping(echo) = &message {
            let echo = echo.map_or(&[][..], |echo| echo.0);
            assert!(echo.is_empty() || bytes.windows(echo.len()).any(|part| part == echo));
            continue;
        }
        let owned = message.clone().map_ping(|_| serde_json::Value::Null);
        for other in Encoding::ALL {
            let mut written = Vec::new();
            encode(other, &owned, &mut written).expect("what was read can be written");
            assert_eq!(decode_client(other, &written), Ok(message.clone()));
        }
    }
});
