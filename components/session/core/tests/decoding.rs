//! Whatever comes in: no panic, the socket stays, and good texts cross unharmed.

use chorus_protocol::client::{ClientMessage, PostComment, React};
use chorus_protocol::codec::encode;
use chorus_protocol::server::ServerMessage;
use chorus_protocol::{ClientId, CommentId, Encoding, Position, StreamId, text as texts};
use chorus_session_core::Input;
use chorus_session_scenarios::machine::Native;
use chorus_session_scenarios::origin::Origin;
use chorus_session_scenarios::{Machine, Pop};
use proptest::prelude::*;
use serde_json::{Value, json};

fn native() -> Box<dyn Machine> {
    Box::new(Native::default())
}

/// A host with a member of each encoding, the second with a token.
fn host(make: &dyn Fn() -> Box<dyn Machine>) -> (Pop<'_>, Origin, u64, u64) {
    let mut pop = Pop::new(make, false);
    pop.lease();
    let origin = Origin::new("demo", &["eu", "us"]);
    let reader = pop.open(Encoding::Json, None);
    let writer = pop.open(Encoding::MsgPack, Some(pop.token("ann", "admin")));
    for viewer in [reader, writer] {
        pop.say(viewer, "join_stream", &json!({"stream_id": "demo"}));
    }
    pop.state("demo", Some(origin.state()));
    pop.take(reader);
    pop.take(writer);
    (pop, origin, reader, writer)
}

/// Any JSON of a few levels.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_in_any_place_leave_the_members_alone(
        frames: Vec<Vec<u8>>, from_logs in prop::collection::vec((0..3_u8, any::<Vec<u8>>()), 0..8)
    ) {
        let make: &dyn Fn() -> Box<dyn Machine> = &native;
        let (mut pop, mut origin, reader, writer) = host(make);
        let topic = pop.topic("demo");
        for data in frames.iter().take(50) {
            pop.feed(vec![
                Input::Frame { connection: reader, data: data.clone() },
                Input::Frame { connection: writer, data: data.clone() },
            ]);
        }
        for (kind, data) in from_logs {
            pop.feed(vec![match kind {
                0 => Input::Delivered { topic, data },
                1 => Input::Control { topic: Some(topic), data },
                _ => Input::Replayed { request: 1, data },
            }]);
        }
        prop_assert_eq!((pop.closed(reader), pop.closed(writer)), (None, None));
        pop.take(reader);
        let delivery = origin.write("eu", 1, "hi");
        pop.deliver("demo", &delivery);
        let batch = pop.take_one(reader);
        let shown = matches!(batch, ServerMessage::CommentsBatch { .. });
        prop_assert!(shown);
    }

    #[test]
    fn any_payload_of_any_type_gets_an_answer_of_ours(
        kind in prop_oneof![
            Just("authenticate"), Just("join_stream"), Just("leave_stream"), Just("post_comment"), Just("react"),
            Just("unreact"), Just("delete_comment"), Just("moderate"), Just("report"), Just("ping"), Just("?"),
        ],
        payload in any_json(),
    ) {
        let make: &dyn Fn() -> Box<dyn Machine> = &native;
        let (mut pop, _, reader, writer) = host(make);
        for viewer in [reader, writer] {
            pop.say(viewer, kind, &payload);
            // The host decodes what comes back; here it only must not be a close.
            let answers = pop.take(viewer);
            prop_assert!(answers.len() <= 1, "{:?}", answers);
            prop_assert_eq!(pop.closed(viewer), None);
            if kind == "ping" {
                prop_assert_eq!(answers, [ServerMessage::Pong(payload.clone())]);
            }
        }
    }

    #[test]
    fn a_text_crosses_unharmed(text in ".{1,600}") {
        let make: &dyn Fn() -> Box<dyn Machine> = &native;
        let (mut pop, mut origin, reader, writer) = host(make);
        pop.post(writer, "demo", "c1", &text);
        let checked = texts::comment(&text, 500);
        prop_assert_eq!(pop.published.len(), usize::from(checked.is_ok()));
        let Ok(content) = checked else { return Ok(()) };
        let publication = pop.publication();
        let delivery = origin.store("us", publication.bytes.clone());
        pop.take(writer);
        pop.deliver("demo", &delivery);
        for viewer in [reader, writer] {
            let ServerMessage::CommentsBatch { comments, .. } = pop.take_one(viewer) else {
                panic!("not a batch");
            };
            prop_assert_eq!(Some(&comments[0]), publication.comment.as_ref());
            prop_assert_eq!(&comments[0].content, &*content);
        }
    }

    #[test]
    fn a_position_is_read_as_it_is_written(token in ".*") {
        if let Some(position) = Position::from_token(&token) {
            prop_assert_eq!(Position::from_token(&position.to_token()), Some(position));
        }
    }
}

#[test]
fn what_our_client_writes_is_understood() {
    let stream_id: StreamId = "nowhere".parse().expect("a stream");
    let client_id: ClientId = "c1".parse().expect("a key");
    let comment_id = CommentId(7);
    let messages = [
        ClientMessage::Authenticate {
            token: "none".to_owned(),
        },
        ClientMessage::JoinStream {
            stream_id: stream_id.clone(),
            resume: Some("here".to_owned()),
        },
        ClientMessage::LeaveStream {
            stream_id: stream_id.clone(),
        },
        ClientMessage::PostComment(PostComment {
            stream_id: stream_id.clone(),
            client_id: client_id.clone(),
            content: "hi".to_owned(),
            parent_id: Some(comment_id),
            media_ms: Some(1),
        }),
        ClientMessage::React(React {
            stream_id: stream_id.clone(),
            reaction_type: "like".to_owned(),
            comment_id: Some(comment_id),
            count: Some(1),
        }),
        ClientMessage::DeleteComment {
            stream_id: stream_id.clone(),
            comment_id,
            client_id: Some(client_id.clone()),
        },
        ClientMessage::Moderate {
            stream_id,
            client_id,
            action: "remove".to_owned(),
            comment_id: Some(comment_id),
        },
        ClientMessage::Ping(Some(json!({"a": 1}))),
    ];
    let make: &dyn Fn() -> Box<dyn Machine> = &native;
    let (mut pop, _, reader, writer) = host(make);
    for message in messages {
        for (connection, encoding) in [(reader, Encoding::Json), (writer, Encoding::MsgPack)] {
            let mut data = Vec::new();
            encode(encoding, &message, &mut data).expect("writes");
            pop.feed(vec![Input::Frame { connection, data }]);
            for answer in pop.take(connection) {
                let ServerMessage::Error(refusal) = answer else {
                    continue;
                };
                let code = refusal.code.as_str();
                assert!(
                    !matches!(code, "invalid_message" | "unknown_type"),
                    "{message:?}: {}",
                    refusal.message
                );
            }
        }
    }
}
