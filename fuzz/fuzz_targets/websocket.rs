//! A client's frames: never a panic, the same whether they come at once or in pieces, and never more than allowed.
#![no_main]

#[path = "../ws.rs"]
mod ws;

use libfuzzer_sys::fuzz_target;
use ws::deflate::Inflater;
use ws::reader::{Event, Reader, Rules};

const MESSAGE_BYTES_MAX: usize = 512;

/// What came of it, until the first end.
fn read(rules: &Rules, pieces: &[&[u8]]) -> (Vec<String>, Option<u16>) {
    let mut reader = Reader::default();
    let mut inflater = Inflater::default();
    let mut seen = Vec::new();
    let mut closed = false;
    for piece in pieces {
        let mut piece = piece.to_vec();
        let result = reader.read(rules, &mut inflater, &mut piece, &mut |event| {
            if let Event::Message(bytes) = &event {
                assert!(bytes.len() <= rules.message_bytes_max);
                assert!(rules.binary || std::str::from_utf8(bytes).is_ok());
            }
            closed |= matches!(event, Event::Close(_));
            seen.push(format!("{event:?}"));
        });
        if let Err(violation) = result {
            return (seen, Some(violation.code));
        }
        if closed {
            break;
        }
    }
    (seen, None)
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (flags, cut, bytes) = input;
    let rules = Rules {
        message_bytes_max: MESSAGE_BYTES_MAX,
        deflate: flags & 1 != 0,
        binary: flags & 2 != 0,
    };
    let whole = read(&rules, &[bytes]);
    let (first, second) = bytes.split_at(bytes.len().min(cut.into()));
    assert_eq!(read(&rules, &[first, second]), whole);
    if bytes.len() <= 256 {
        let singly: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&rules, &singly), whole);
    }
});
