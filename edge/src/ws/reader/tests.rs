//! Valid frames and violations of RFC 6455, whole and cut into pieces.

use proptest::prelude::*;

use super::*;
use crate::ws::deflate::Deflater;

const TEXT: Rules = Rules {
    message_bytes_max: 4_096,
    deflate: false,
    binary: false,
};

/// A masked frame with this first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).expect("short")),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&u16::try_from(length).expect("medium").to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&key);
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    mask(&mut bytes[start..], key);
    bytes
}

fn run(rules: &Rules, pieces: &[&[u8]]) -> Result<Vec<String>, Violation> {
    let mut reader = Reader::default();
    let mut inflater = Inflater::default();
    let mut seen = Vec::new();
    for piece in pieces {
        reader.read(rules, &mut inflater, &mut piece.to_vec(), &mut |event| {
            seen.push(match event {
                Event::Message(data) => format!("message {}", String::from_utf8_lossy(data)),
                Event::Ping(data) => format!("ping {}", String::from_utf8_lossy(data)),
                Event::Pong => "pong".to_owned(),
                Event::Close(code) => format!("close {code:?}"),
            });
        })?;
    }
    Ok(seen)
}

fn code_of(rules: &Rules, bytes: &[u8]) -> Option<u16> {
    run(rules, &[bytes]).err().map(|violation| violation.code)
}

#[test]
fn control_frames_may_come_between_fragments() {
    let bytes = [
        frame(0x01, b"one "),
        frame(0x89, b"p"),
        frame(0x00, b"two "),
        frame(0x8a, b""),
        frame(0x80, b"three"),
        frame(0x88, &[0x03, 0xe8]),
        frame(0x81, b"after the close"),
    ]
    .concat();
    assert_eq!(
        run(&TEXT, &[&bytes]),
        Ok(vec![
            "ping p".to_owned(),
            "pong".to_owned(),
            "message one two three".to_owned(),
            "close Some(1000)".to_owned(),
        ])
    );
}

#[test]
fn a_text_that_cannot_become_utf8_fails_before_it_ends() {
    for wrong in [&b"\xff"[..], b"\xed\xa0", b"\xf4\x90", b"\xc3\x28"] {
        for at in 0..=wrong.len() {
            let pieces = [
                frame(0x01, &[&b"\"\xe2\x82\xac"[..], &wrong[..at]].concat()),
                frame(0x00, &wrong[at..]),
            ];
            assert_eq!(code_of(&TEXT, &pieces.concat()), Some(1007), "{wrong:x?}");
        }
    }
    // A character may be split between fragments at every byte.
    let parts: Vec<u8> = "€🙂"
        .bytes()
        .flat_map(|byte| frame(0x00, &[byte]))
        .collect();
    let whole = [frame(0x01, b""), parts, frame(0x80, b"")].concat();
    assert_eq!(run(&TEXT, &[&whole]), Ok(vec!["message €🙂".to_owned()]));
}

#[test]
fn every_violation_has_its_code() {
    let long = vec![b'a'; 4_097];
    assert_eq!(code_of(&TEXT, &[0x81, 0x01, b'a']), Some(1002), "unmasked");
    assert_eq!(
        code_of(&TEXT, &frame(0xc1, b"a")),
        Some(1002),
        "RSV1 without deflate"
    );
    assert_eq!(code_of(&TEXT, &frame(0xa1, b"a")), Some(1002), "RSV2");
    assert_eq!(code_of(&TEXT, &frame(0x83, b"a")), Some(1002), "opcode 3");
    assert_eq!(
        code_of(&TEXT, &frame(0x80, b"a")),
        Some(1002),
        "nothing to continue"
    );
    assert_eq!(
        code_of(&TEXT, &frame(0x89, &[0; 126])),
        Some(1002),
        "a long ping"
    );
    assert_eq!(
        code_of(&TEXT, &frame(0x09, b"")),
        Some(1002),
        "a fragmented ping"
    );
    let nested = [frame(0x01, b"a"), frame(0x81, b"b")].concat();
    assert_eq!(
        code_of(&TEXT, &nested),
        Some(1002),
        "a message within a message"
    );
    assert_eq!(
        code_of(&TEXT, &frame(0x82, b"a")),
        Some(1003),
        "binary on a text connection"
    );
    let binary = Rules {
        binary: true,
        ..TEXT
    };
    assert_eq!(
        code_of(&binary, &frame(0x81, b"a")),
        Some(1003),
        "text on a binary connection"
    );
    assert_eq!(
        code_of(&TEXT, &frame(0x81, &[0xff])),
        Some(1007),
        "invalid UTF-8"
    );
    assert_eq!(
        code_of(&TEXT, &frame(0x81, &long)),
        Some(1009),
        "4,097 bytes"
    );
    assert_eq!(
        code_of(&TEXT, &frame(0x81, &long)[..8]),
        Some(1009),
        "known by the header alone"
    );
    let pieces = [frame(0x01, &long[..4_096]), frame(0x80, b"a")].concat();
    assert_eq!(
        code_of(&TEXT, &pieces),
        Some(1009),
        "4,097 bytes in two fragments"
    );
    assert_eq!(
        code_of(&TEXT, &frame(0x88, &[3])),
        Some(1002),
        "half a close code"
    );
    assert_eq!(
        code_of(&TEXT, &frame(0x88, &1005u16.to_be_bytes())),
        Some(1002),
        "1005"
    );
    assert_eq!(
        code_of(&TEXT, &frame(0x88, &[0x03, 0xe8, 0xff])),
        Some(1007),
        "reason"
    );
}

#[test]
fn characters_may_be_cut_by_fragments_but_not_by_messages() {
    let whole = [frame(0x01, &[0xc3]), frame(0x80, &[0xbc])].concat();
    assert_eq!(run(&TEXT, &[&whole]), Ok(vec!["message ü".to_owned()]));
    assert_eq!(code_of(&TEXT, &frame(0x81, &[0xc3])), Some(1007));
}

#[test]
fn compressed_messages_are_inflated_within_the_bound() {
    let rules = Rules {
        deflate: true,
        ..TEXT
    };
    let mut small = Vec::new();
    assert!(Deflater::default().message(&[b'a'; 4_096], &mut small));
    let (left, right) = small.split_at(small.len() / 2);
    let fragments = [frame(0x41, left), frame(0x80, right), frame(0x81, b"plain")].concat();
    let seen = run(&rules, &[&fragments]).expect("fine");
    assert_eq!(seen[0].len(), "message ".len() + 4_096);
    assert_eq!(seen[1], "message plain");
    let mut bomb = Vec::new();
    assert!(Deflater::default().message(&[b'a'; 100_000], &mut bomb));
    assert_eq!(code_of(&rules, &frame(0xc1, &bomb)), Some(1009));
    assert_eq!(code_of(&rules, &frame(0xc1, &[0xff; 10])), Some(1007));
    let later = [frame(0x01, b"a"), frame(0xc0, b"b")].concat();
    assert_eq!(
        code_of(&rules, &later),
        Some(1002),
        "RSV1 on a later fragment"
    );
}

#[test]
fn the_bound_counts_what_is_inflated() {
    let rules = Rules {
        deflate: true,
        ..TEXT
    };
    let stored = |length: usize, block: usize| {
        let mut data = Vec::new();
        for part in vec![b'a'; length].chunks(block) {
            let length = u16::try_from(part.len()).expect("short");
            data.push(0);
            data.extend_from_slice(&length.to_le_bytes());
            data.extend_from_slice(&(!length).to_le_bytes());
            data.extend_from_slice(part);
        }
        data.push(0);
        data
    };
    for block in [4_096, 127, 8] {
        let data = stored(4_096, block);
        assert!(data.len() > 4_096);
        let seen = run(&rules, &[&frame(0xc1, &data)]).expect("it is 4,096 bytes");
        assert_eq!(seen[0].len(), "message ".len() + 4_096);
        let (left, right) = data.split_at(4_000);
        let cut = [frame(0x41, left), frame(0x80, right)].concat();
        assert_eq!(run(&rules, &[&cut]).expect("also in fragments"), seen);
    }
    let one_more = stored(4_097, 4_097);
    assert_eq!(code_of(&rules, &frame(0xc1, &one_more)), Some(1009));
    // Blocks of one byte each make the message six times as long, beyond the bound before inflating.
    let padded = frame(0xc1, &stored(4_096, 1));
    assert_eq!(code_of(&rules, &padded[..8]), Some(1009));
    assert_eq!(
        code_of(&rules, &frame(0x81, &[b'a'; 4_097])),
        Some(1009),
        "what is not compressed is what it is"
    );
    let plain = [frame(0x01, &[b'a'; 4_096]), frame(0x80, b"a")].concat();
    assert_eq!(code_of(&rules, &plain), Some(1009));
}

#[test]
fn an_idle_reader_holds_nothing() {
    let mut reader = Reader::default();
    let mut inflater = Inflater::default();
    let bytes = frame(0x81, b"hello");
    let (left, right) = bytes.split_at(4);
    reader
        .read(&TEXT, &mut inflater, &mut left.to_vec(), &mut |_| {})
        .expect("fine");
    assert!(!reader.is_idle());
    let mut seen = 0;
    reader
        .read(&TEXT, &mut inflater, &mut right.to_vec(), &mut |_| {
            seen += 1
        })
        .expect("fine");
    assert_eq!(seen, 1);
    assert!(reader.is_idle());
    assert!(size_of::<Reader>() <= 8);
}

proptest! {
    #[test]
    fn how_the_bytes_are_cut_makes_no_difference(
        messages in proptest::collection::vec(("[a-zü]{0,200}", 0usize..4, any::<bool>()), 1..6),
        cuts in proptest::collection::vec(1usize..40, 1..200),
    ) {
        let mut bytes = Vec::new();
        for (text, fragments, ping) in &messages {
            let data = text.as_bytes();
            let size = data.len() / (fragments + 1) + 1;
            let parts: Vec<&[u8]> = if data.is_empty() { vec![data] } else { data.chunks(size).collect() };
            for (index, part) in parts.iter().enumerate() {
                let opcode = u8::from(index == 0);
                let fin = if index + 1 == parts.len() { 0x80 } else { 0 };
                bytes.extend(frame(fin | opcode, part));
                if *ping && fin == 0 {
                    bytes.extend(frame(0x89, b"p"));
                }
            }
        }
        let whole = run(&TEXT, &[&bytes]).expect("all is valid");
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(run(&TEXT, &pieces), Ok(whole.clone()));
        let texts: Vec<String> = whole.into_iter().filter(|event| event.starts_with("message")).collect();
        let sent: Vec<String> = messages.iter().map(|(text, ..)| format!("message {text}")).collect();
        prop_assert_eq!(texts, sent);
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_hoard(pieces in proptest::collection::vec(any::<Vec<u8>>(), 0..20), deflate: bool, binary: bool) {
        let rules = Rules { message_bytes_max: 256, deflate, binary };
        let mut reader = Reader::default();
        let mut inflater = Inflater::default();
        for piece in pieces {
            if reader.read(&rules, &mut inflater, &mut piece.clone(), &mut |_| {}).is_err() {
                break;
            }
            if let Some(partial) = &reader.partial {
                let most = if deflate { rules.compressed_bytes_max() } else { 256 };
                prop_assert!(partial.raw.len() <= 14 + most);
                prop_assert!(partial.message.as_ref().is_none_or(|message| message.data.len() <= most));
            }
        }
    }
}
