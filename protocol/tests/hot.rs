//! The quick reader of posts and reactions says the same as the one that reads everything, or nothing.

use chorus_protocol::client::{ClientMessage, PostComment, React};
use chorus_protocol::codec::{Incoming, ReadError, decode_hot, encode, json as pieces, msgpack};
use chorus_protocol::{CommentId, Encoding};
use proptest::prelude::*;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// What the reader of any form says of a post or a reaction.
fn strict(encoding: Encoding, bytes: &[u8]) -> Result<ClientMessage, ReadError> {
    let message = Incoming::read(encoding, bytes)?;
    let fields = message.fields()?;
    match message.kind() {
        "post_comment" => PostComment::read(&fields).map(ClientMessage::PostComment),
        _ => React::read(&fields).map(ClientMessage::React),
    }
}

/// Says whether the quick reader took it.
fn agree(encoding: Encoding, bytes: &[u8]) -> bool {
    let hot = decode_hot(encoding, bytes);
    if let Some(hot) = &hot {
        assert_eq!(
            Ok(hot.message().expect("checked ids")),
            strict(encoding, bytes),
            "{encoding:?} {:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    hot.is_some()
}

/// Fields in an order of their own, and each as often as it is there.
#[derive(Clone, Debug)]
struct Fields(Vec<(String, Any)>);

#[derive(Clone, Debug)]
enum Any {
    Value(Value),
    Fields(Fields),
}

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Fields(fields) => fields.serialize(serializer),
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z0-9_-]{1,12}",
        2 => ".{0,40}",
        1 => "[\"\\\\/\u{0}-\u{20}\u{7f}-\u{a0}é🎉a]{0,20}",
        1 => "[a-z]{60,70}",
        1 => Just("18446744073709551615".to_owned()),
        1 => "[0-9]{1,21}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => text().prop_map(Value::from),
        2 => any::<u64>().prop_map(Value::from),
        2 => (0..40_u64).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        2 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(json!([1, "a"])),
        1 => Just(json!({"a": null})),
    ]
}

/// A field of a payload: mostly one of ours with a value that fits it.
fn field() -> impl Strategy<Value = (String, Any)> {
    let number = prop_oneof![(0..40_u64).boxed(), any::<u64>().boxed()].prop_map(Value::from);
    // Half of them are too large.
    let id = any::<u64>().prop_map(|id| Value::from(id.to_string()));
    let fitting = prop_oneof![
        (
            "stream_id|client_id|content|reaction_type",
            text().prop_map(Value::from)
        ),
        ("count|media_ms", number),
        ("parent_id|comment_id", id),
    ];
    let any_of_ours = (
        "stream_id|client_id|content|reaction_type|count|media_ms|parent_id|comment_id|x",
        value(),
    );
    prop_oneof![4 => fitting, 1 => any_of_ours].prop_map(|(name, value)| (name, Any::Value(value)))
}

/// A payload that is whole, but for what was changed.
fn payload() -> impl Strategy<Value = Any> {
    let whole = prop_oneof![
        Just(vec!["stream_id", "client_id", "content"]),
        Just(vec!["stream_id", "reaction_type"])
    ];
    let needed = whole.prop_flat_map(|names| {
        let field = |name: &'static str| {
            let id = "[a-zA-Z0-9_-]{1,12}".prop_map(Value::from);
            let any_text = text().prop_map(Value::from);
            prop_oneof![3 => id, 1 => any_text]
                .prop_map(move |value| (name.to_owned(), Any::Value(value)))
        };
        names.into_iter().map(field).collect::<Vec<_>>()
    });
    let more = prop::collection::vec(field(), 0..3);
    let fields = (needed, more).prop_map(|(mut fields, more)| {
        fields.extend(more);
        fields
    });
    let shuffled = fields
        .prop_shuffle()
        .prop_map(|fields| Any::Fields(Fields(fields)));
    prop_oneof![9 => shuffled, 1 => value().prop_map(Any::Value)]
}

fn message() -> impl Strategy<Value = Fields> {
    let kind = "post_comment|react|unreact|ping|x".prop_map(Value::from);
    let kind = prop_oneof![12 => kind.boxed(), 1 => value().boxed()];
    let head = (kind, payload()).prop_map(|(kind, payload)| {
        vec![
            ("type".to_owned(), Any::Value(kind)),
            ("payload".to_owned(), payload),
        ]
    });
    let more = prop_oneof![
        6 => Just(vec![]),
        1 => (text(), value()).prop_map(|(name, value)| vec![(name, Any::Value(value))]),
        1 => payload().prop_map(|payload| vec![("payload".to_owned(), payload)]),
        1 => Just(vec![("type".to_owned(), Any::Value(json!("react")))]),
    ];
    let whole = (head, more).prop_map(|(mut fields, more)| {
        fields.extend(more);
        fields
    });
    let whole = prop_oneof![
        8 => whole,
        1 => payload().prop_map(|payload| vec![("payload".to_owned(), payload)]),
        1 => Just(vec![("type".to_owned(), Any::Value(json!("react")))]),
    ];
    whole.prop_shuffle().prop_map(Fields)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn both_readers_agree(
        message in message(), pretty: bool, hurt in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()), tail in "|||||[ \n]|[a-z}]"
    ) {
        for encoding in Encoding::ALL {
            let mut bytes = Vec::new();
            if pretty && encoding == Encoding::Json {
                bytes = serde_json::to_vec_pretty(&message).expect("writes");
            } else {
                encode(encoding, &message, &mut bytes).expect("writes");
            }
            agree(encoding, &bytes);
            bytes.extend_from_slice(tail.as_bytes());
            agree(encoding, &bytes);
            if let Some((at, byte)) = hurt {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                agree(encoding, &bytes);
            }
            if let Some(at) = cut {
                bytes.truncate(at.index(bytes.len()));
                agree(encoding, &bytes);
            }
        }
    }

    #[test]
    fn the_usual_form_is_read_quickly(
        content in ".{0,80}", stream in "[a-zA-Z0-9_-]{1,64}", key in "[ -!#-\\[\\]-~]{1,64}",
        parent in prop::option::of(0..1_u64 << 63), media: Option<u32>, count in prop::option::of(0..30_u32),
    ) {
        let post = ClientMessage::PostComment(PostComment {
            stream_id: stream.parse().expect("a stream"),
            client_id: key.parse().expect("a key"),
            // Control characters but the usual ones are written as `\u…`, which is not the usual form.
            content: content.replace(|c: char| c.is_control() && !"\n\r\t".contains(c), ""),
            parent_id: parent.map(CommentId),
            media_ms: media.map(u64::from),
        });
        let react = ClientMessage::React(React {
            stream_id: stream.parse().expect("a stream"),
            reaction_type: "like".to_owned(),
            comment_id: None,
            count,
        });
        for encoding in Encoding::ALL {
            for message in [&post, &react] {
                let mut bytes = Vec::new();
                encode(encoding, message, &mut bytes).expect("writes");
                prop_assert!(agree(encoding, &bytes));
            }
        }
    }

    #[test]
    fn any_bytes_leave_the_readers_agreed(bytes: Vec<u8>) {
        for encoding in Encoding::ALL {
            agree(encoding, &bytes);
        }
    }

    #[test]
    fn a_text_is_written_as_serde_writes_it(text in "[\u{0}-\u{a0}é🎉\"\\\\a]{0,40}") {
        let mut out = b"before".to_vec();
        pieces::write_text(&mut out, &text);
        prop_assert_eq!(out, format!("before{}", json!(text)).into_bytes());
    }

    #[test]
    fn pieces_are_written_as_serde_writes_them(number: u64, bits in 0..64_u32, len in 0..70_000_usize) {
        let number = number >> bits;
        let mut out = Vec::new();
        pieces::write_number(&mut out, number);
        prop_assert_eq!(&out, &number.to_string().into_bytes());
        let text = "x".repeat(len);
        for (piece, expected) in [
            (written(|out| msgpack::write_number(out, number)), rmp_serde::to_vec(&number)),
            (written(|out| msgpack::write_text(out, &text)), rmp_serde::to_vec(&text)),
        ] {
            prop_assert_eq!(piece, expected.expect("writes"));
        }
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

#[test]
fn what_is_out_of_the_ordinary_is_left_to_the_other() {
    let quick = |text: &str| agree(Encoding::Json, text.as_bytes());
    let post = r#""type":"post_comment""#;
    let payload = r#""stream_id":"s","client_id":"c","content":"x""#;
    assert!(quick(&format!("{{{post},\"payload\":{{{payload}}}}}")));
    assert!(quick(&format!(
        " {{ \"payload\" : {{ {payload} , \"media_ms\" : null }} , {post} }} \n"
    )));
    for other in [
        String::new(),
        "{".to_owned(),
        format!("{{{post},\"payload\":{{{payload}}}"),
        format!("{{{post},\"payload\":{{{payload},}}}}"),
        format!("{{{post},,\"payload\":{{{payload}}}}}"),
        format!("{{,{post},\"payload\":{{{payload}}}}}"),
        format!("{{{post},\"payload\":{{{payload}}}}}}}"),
        format!("{{{post},\"payload\":{{{payload},\"count\":1}}}}"),
        format!("{{{post},\"payload\":{{{payload},\"content\":\"y\"}}}}"),
        format!("{{{post},{post},\"payload\":{{{payload}}}}}"),
        format!("{{{post},\"payload\":{{{payload},\"media_ms\":01}}}}"),
        format!("{{{post},\"payload\":{{{payload},\"media_ms\":1.0}}}}"),
        format!("{{{post},\"payload\":{{{payload},\"media_ms\":99999999999999999999}}}}"),
        format!("{{{post},\"payload\":{{{payload},\"parent_id\":\"+1\"}}}}"),
        format!(
            "{{{post},\"payload\":{{\"stream_id\":\"s\",\"client_id\":\"c\",\"content\":\"\\u0041\"}}}}"
        ),
        format!(
            "{{{post},\"payload\":{{\"stream_id\":\"s\",\"client_id\":\"c\",\"content\":\"a\nb\"}}}}"
        ),
        format!(
            "{{{post},\"payload\":{{\"stream_id\":\"s.\",\"client_id\":\"c\",\"content\":\"\"}}}}"
        ),
        format!("{{{post},\"payload\":[\"s\",\"c\",\"x\"]}}"),
        format!("[\"post_comment\",{{{payload}}}]"),
        r#"{"type":"react","payload":{"stream_id":"s","reaction_type":"like","comment_id":"1"}}"#
            .to_owned(),
        r#"{"type":"react","payload":{"stream_id":"s","reaction_type":"like","count":4294967296}}"#
            .to_owned(),
        r#"{"type":"ping","payload":{}}"#.to_owned(),
    ] {
        assert!(!quick(&other), "{other}");
    }
}
