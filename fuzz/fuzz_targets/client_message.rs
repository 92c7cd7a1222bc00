//! A client's message in both encodings: reading never panics, the quick reader says what the one of any form says, a post
//! or a reaction that was read is written and read the same, and what a ping carries is a part of the message.
#![no_main]

use chorus_protocol::client::{ClientMessage, PostComment, React};
use chorus_protocol::codec::{Incoming, ReadError, decode_hot, encode};
use chorus_protocol::{ClientId, CommentId, Encoding};
use libfuzzer_sys::fuzz_target;

/// What the reader of any form says of a post or a reaction.
fn strict(encoding: Encoding, bytes: &[u8]) -> Result<ClientMessage, ReadError> {
    let message = Incoming::read(encoding, bytes)?;
    let fields = message.fields()?;
    match message.kind() {
        "post_comment" => PostComment::read(&fields).map(ClientMessage::PostComment),
        _ => React::read(&fields).map(ClientMessage::React),
    }
}

fuzz_target!(|bytes: &[u8]| {
    for encoding in Encoding::ALL {
        if let Some(hot) = decode_hot(encoding, bytes) {
            let message = hot.message().expect("it reads only ids that are ids");
            assert_eq!(strict(encoding, bytes), Ok(message));
        }
        let Ok(message) = Incoming::read(encoding, bytes) else {
            continue;
        };
        let echo = message.echo().map_or(&[][..], |echo| echo.0);
        assert!(echo.is_empty() || bytes.windows(echo.len()).any(|part| part == echo));
        if let Ok(fields) = message.fields() {
            let _any = fields.id::<ClientId>("client_id");
            let _any = fields.id::<CommentId>("comment_id");
            let _any = fields.text("action");
            let _any = fields.number::<u32>("count");
        }
        let Ok(message) = strict(encoding, bytes) else {
            continue;
        };
        for other in Encoding::ALL {
            let mut written = Vec::new();
            encode(other, &message, &mut written).expect("what was read can be written");
            assert_eq!(strict(other, &written), Ok(message.clone()));
        }
    }
});
