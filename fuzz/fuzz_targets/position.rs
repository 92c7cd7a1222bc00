//! Resume tokens and ids, as clients send them.
#![no_main]

use chorus_protocol::{ClientId, CommentId, PopId, Position, Region, StreamId, UserId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(position) = Position::from_token(text) {
        assert_eq!(Position::from_token(&position.to_token()), Some(position));
    }
    let _ids = (
        StreamId::new(text),
        UserId::new(text),
        ClientId::new(text),
        Region::new(text),
        PopId::new(text),
        text.parse::<CommentId>(),
    );
});
