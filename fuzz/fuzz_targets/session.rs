//! The session logic under any sequence of inputs: never a panic, and a session that was written down and read
//! again goes on exactly as the one that was not.
#![no_main]

use chorus_protocol::backhaul::StreamState;
use chorus_protocol::event::{AuthorRole, RemovalRecord, kind};
use chorus_protocol::session::{Control, Delivery, Replayed};
use chorus_protocol::stream::{Life, Settings, StreamInfo, StreamStatus};
use chorus_protocol::{
    CommentId, CommentRecord, Encoding, Envelope, Event, Millis, Outcome, Position,
};
use chorus_session_core::{Input, Opened, Session, Transport};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;

const START: u64 = 1_800_000_000_000;
/// The users `u` and `a` (an admin) until 2^33 s, signed with the secret below, which is nobody's.
const TOKENS: [&str; 2] = [
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1IiwibmFtZSI6InUiLCJyb2xlIjoidXNlciIsImV4cCI6ODU4OTkzNDU5Mn0.ZENgwnzOTGFyfzEQNAP-UreKqLPZe3vULC41XQPBEjI",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwibmFtZSI6ImEiLCJyb2xlIjoiYWRtaW4iLCJleHAiOjg1ODk5MzQ1OTJ9.M3_ngulfyPFvL3j3NBK4vRg50biKHhysCje8xKvObj4",
];
const CONFIG: &[u8] = br#"{"shard":1,"keys":[{"alg":"HS256","secret":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U"}]}"#;

fn msgpack<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap_or_default()
}

/// The next bytes of the fuzzer's input; zeros when there are no more.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    fn some(&mut self) -> &'a [u8] {
        let count = usize::from(self.byte()).min(self.0.len());
        let (some, rest) = self.0.split_at(count);
        self.0 = rest;
        some
    }

    fn few(&mut self) -> u64 {
        u64::from(self.byte() % 4)
    }
}

fn info(bytes: &mut Bytes<'_>) -> StreamInfo {
    StreamInfo {
        stream_id: "demo".parse().expect("a stream"),
        title: String::from_utf8_lossy(bytes.some()).into_owned(),
        description: String::new(),
        broadcaster_id: "b".parse().expect("a user"),
        status: if bytes.byte() % 8 == 0 {
            StreamStatus::Ended
        } else {
            StreamStatus::Live
        },
        created_at_ms: Millis(START),
        settings: Settings::default(),
        home_region: None,
    }
}

fn state(bytes: &mut Bytes<'_>) -> Vec<u8> {
    msgpack(&Control::State(Some(Box::new(StreamState {
        info: info(bytes),
        life_seq: bytes.few(),
        at: Position::default(),
        newest: (0..bytes.few()).map(|_| event(bytes)).collect(),
        comment_count: bytes.few(),
        reactions: [("like".to_owned(), bytes.few())].into(),
        viewer_count: bytes.few(),
    }))))
}

/// Few ids, so that removals meet their comments.
fn id(bytes: &mut Bytes<'_>) -> CommentId {
    CommentId::compose(Millis(START + bytes.few()), 1, 1, bytes.byte() % 16)
}

fn body(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let what = bytes.byte() % 16;
    if what == 0 {
        return bytes.some().to_vec();
    }
    let envelope = Envelope {
        id: id(bytes),
        kind: match what {
            1..=4 => kind::REMOVAL,
            5 => "tomorrow",
            _ => kind::COMMENT,
        },
        stream: "demo",
        author: "u",
        role: AuthorRole::User,
        key: 0,
        target: (what < 8).then(|| id(bytes)),
        record: b"",
    };
    match what {
        1 | 6 => envelope.write(0, |out| out.extend_from_slice(bytes.some())),
        2..=5 => envelope.write_record(&RemovalRecord {
            reason: ["author", "moderator", "spam", ""][bytes.few() as usize].to_owned(),
        }),
        _ => envelope.write_record(&CommentRecord {
            username: "u".to_owned(),
            content: String::from_utf8_lossy(bytes.some()).into_owned(),
            created_at_ms: Millis(START),
            parent_id: None,
            mentions: Vec::new(),
            media_ms: None,
            badges: Vec::new(),
        }),
    }
}

fn event(bytes: &mut Bytes<'_>) -> Event {
    Event {
        region: "dev".parse().expect("a region"),
        epoch: 1,
        seq: bytes.byte().into(),
        body: body(bytes),
    }
}

fn message(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let text = match bytes.byte() % 10 {
        0 => return bytes.some().to_vec(),
        1 | 2 => r#"{"type":"join_stream","payload":{"stream_id":"demo"}}"#.to_owned(),
        3 => format!(
            r#"{{"type":"post_comment","payload":{{"stream_id":"demo","client_id":"k{}","content":"x{}"}}}}"#,
            bytes.few(),
            bytes.byte()
        ),
        4 => r#"{"type":"leave_stream","payload":{"stream_id":"demo"}}"#.to_owned(),
        5 => format!(
            r#"{{"type":"react","payload":{{"stream_id":"demo","reaction_type":"like","count":{}}}}}"#,
            bytes.byte()
        ),
        6 => format!(
            r#"{{"type":"join_stream","payload":{{"stream_id":"demo","resume":"{}"}}}}"#,
            String::from_utf8_lossy(bytes.some()).replace(['"', '\\'], "")
        ),
        7 => format!(
            r#"{{"type":"delete_comment","payload":{{"stream_id":"demo","comment_id":"{}"}}}}"#,
            id(bytes)
        ),
        8 => format!(
            r#"{{"type":"delete_comment","payload":{{"stream_id":"demo","comment_id":"{}","client_id":"d{}"}}}}"#,
            id(bytes),
            bytes.few()
        ),
        _ => r#"{"type":"ping","payload":[1,2]}"#.to_owned(),
    };
    text.into_bytes()
}

fn input(bytes: &mut Bytes<'_>) -> Input {
    match bytes.byte() % 16 {
        0 | 1 => Input::Opened(Opened {
            connection: bytes.few(),
            transport: Transport::WebSocket,
            encoding: Encoding::ALL[usize::from(bytes.byte() % 2)],
            token: match bytes.byte() % 8 {
                0 => None,
                1 => Some(String::from_utf8_lossy(bytes.some()).into_owned()),
                token => Some(TOKENS[usize::from(token % 2)].to_owned()),
            },
        }),
        2..=5 => Input::Frame {
            connection: bytes.few(),
            data: message(bytes),
        },
        6 => Input::Closed(bytes.few()),
        7 => Input::Lagged(bytes.few()),
        8 => Input::Delivered {
            topic: bytes.few() as u32,
            data: if bytes.byte() % 4 == 0 {
                bytes.some().to_vec()
            } else {
                let from = bytes.byte().into();
                msgpack(&Delivery {
                    region: "dev".parse().expect("a region"),
                    epoch: bytes.few(),
                    from,
                    to: from + bytes.few(),
                    events: (0..bytes.few()).map(|_| event(bytes)).collect(),
                })
            },
        },
        9 | 10 => Input::Control {
            topic: Some(bytes.few() as u32),
            data: match bytes.byte() % 5 {
                0 => bytes.some().to_vec(),
                1 => msgpack(&Control::State(None)),
                2 => msgpack(&Control::Life(Box::new(Life {
                    info: info(bytes),
                    seq: bytes.few(),
                }))),
                _ => state(bytes),
            },
        },
        11 => Input::Control {
            topic: None,
            data: match bytes.byte() % 3 {
                0 => msgpack(&Control::Backhaul {
                    connected: bytes.byte() % 2 == 0,
                }),
                1 => msgpack(&Control::Lease {
                    worker: 3,
                    until_ms: Millis(START + 60_000),
                }),
                _ => bytes.some().to_vec(),
            },
        },
        12 => Input::Replayed {
            request: bytes.few(),
            data: if bytes.byte() % 4 == 0 {
                bytes.some().to_vec()
            } else {
                let gap = bytes.byte() % 2 == 0;
                let events = if gap {
                    Vec::new()
                } else {
                    (0..bytes.few()).map(|_| event(bytes)).collect()
                };
                msgpack(&Replayed { gap, events })
            },
        },
        13 => Input::Published {
            request: bytes.few(),
            outcome: match bytes.byte() % 3 {
                0 => Outcome::Stored {
                    id: CommentId(bytes.byte().into()),
                    duplicate: bytes.byte() % 2 == 0,
                },
                1 => Outcome::Refused {
                    reason: ["unavailable", "forbidden", "comment_not_found", "tomorrow"]
                        [bytes.few() as usize]
                        .to_owned(),
                    retry_after_ms: None,
                },
                _ => Outcome::Unknown,
            },
        },
        14 => Input::Counted {
            topic: bytes.few() as u32,
            reactions: vec![("like".to_owned(), bytes.byte().into())],
            viewers: Some(bytes.byte().into()),
        },
        _ => Input::Timer,
    }
}

fuzz_target!(|raw: &[u8]| {
    // Bytes that are no snapshot must be refused, not believed.
    let _refused = Session::restore(raw);

    let mut bytes = Bytes(raw);
    let mut session = Session::init(CONFIG, 7).expect("a configuration");
    let mut twin: Option<Session> = None;
    let mut now = START;
    while !bytes.0.is_empty() {
        now += u64::from(bytes.byte()) * 50;
        let batch: Vec<Input> = (0..=bytes.few()).map(|_| input(&mut bytes)).collect();
        let mut out = Vec::new();
        session.handle(Millis(now), batch.clone(), &mut out);
        if let Some(twin) = &mut twin {
            let mut same = Vec::new();
            twin.handle(Millis(now), batch, &mut same);
            assert_eq!(same, out, "after a snapshot");
        }
        if bytes.byte() % 8 == 0 {
            twin = Some(Session::restore(&session.snapshot()).expect("its own snapshot"));
        }
    }
});
