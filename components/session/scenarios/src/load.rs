//! The workloads of the benchmarks: the same for the core natively and for the component in its host.
//!
//! Every check is on; buckets are raised and users are many, so that the checks pass.

use chorus_protocol::backhaul::StreamState;
use chorus_protocol::codec::encode;
use chorus_protocol::limits::Limits;
use chorus_protocol::session::{Control, SessionConfig};
use chorus_protocol::{CommentId, Encoding, Millis, Outcome};
use chorus_session_core::{Input, Opened, Transport};
use serde::Serialize;
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::origin::Origin;
use crate::pop::START_MS;
use crate::tokens;

/// Inputs handed over together, and when.
pub type Batch = (u64, Vec<Input>);

/// A workload: what is measured are the batches.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What it measures.
    pub name: &'static str,
    /// The configuration, JSON.
    pub config: Vec<u8>,
    /// What comes before the measurement.
    pub setup: Vec<Batch>,
    /// What is measured.
    pub batches: Vec<Batch>,
    /// How many messages that is.
    pub messages: u64,
}

impl Workload {
    /// Starts a machine and brings it to where the measurement begins.
    pub fn set_up(&self, machine: &mut dyn Machine) {
        machine
            .init(&self.config, 7)
            .expect("the configuration is good");
        for (now, inputs) in &self.setup {
            machine.handle(*now, inputs.clone());
        }
    }

    /// Runs what is measured; gives back how many outputs there were.
    pub fn play(machine: &mut dyn Machine, batches: Vec<Batch>) -> u64 {
        let handled = batches
            .into_iter()
            .map(|(now, inputs)| machine.handle(now, inputs).len() as u64);
        handled.sum()
    }
}

/// Viewers of the stream in every workload.
const VIEWERS: u64 = 1_000;
/// The first topic a session numbers.
const TOPIC: u32 = 1;

/// All workloads, of about `messages` messages each in batches of `batch`.
#[must_use]
pub fn all(messages: u64, batch: u64) -> Vec<Workload> {
    vec![
        posts(Encoding::Json, messages, batch),
        deliveries(messages, batch),
        joins(messages, batch),
        reacts(messages, batch),
        posts(Encoding::MsgPack, messages, batch),
        streams(messages, batch),
    ]
}

fn config() -> Vec<u8> {
    let raised = 1_000_000_000;
    let limits = Limits {
        messages_per_s: 1_000_000,
        messages_burst: raised,
        comments_per_minute: raised,
        comments_per_stream_30s: raised,
        reactions_per_minute: raised,
        ..Limits::default()
    };
    let config = SessionConfig {
        keys: vec![tokens::key()],
        limits,
        ..SessionConfig::default()
    };
    serde_json::to_vec(&config).unwrap()
}

/// A message with its type first, as the SDKs write it.
fn frame(connection: u64, encoding: Encoding, kind: &str, payload: &Value) -> Input {
    #[derive(Serialize)]
    struct Message<'a> {
        r#type: &'a str,
        payload: &'a Value,
    }
    let mut data = Vec::new();
    let message = Message {
        r#type: kind,
        payload,
    };
    encode(encoding, &message, &mut data).unwrap();
    Input::Frame { connection, data }
}

fn join(connection: u64, encoding: Encoding, stream: &str) -> Input {
    frame(
        connection,
        encoding,
        "join_stream",
        &json!({"stream_id": stream}),
    )
}

fn opened(connection: u64, encoding: Encoding, token: Option<String>) -> Input {
    Input::Opened(Opened {
        connection,
        transport: Transport::WebSocket,
        encoding,
        token,
    })
}

fn control(topic: Option<u32>, control: &Control) -> Input {
    Input::Control {
        topic,
        data: rmp_serde::to_vec_named(control).unwrap(),
    }
}

/// A text as people write them.
fn text(i: u64) -> String {
    format!("What a goal, number {i}! Did you see \"that\" pass? \u{1f389}")
}

/// When the tokens and the lease end.
const EXPIRES_MS: u64 = START_MS + 86_400_000;

fn lease() -> Input {
    control(
        None,
        &Control::Lease {
            worker: 1,
            until_ms: Millis(EXPIRES_MS),
        },
    )
}

fn token(user: u64) -> Option<String> {
    Some(tokens::token(&format!("user-{user}"), "user", EXPIRES_MS))
}

/// A stream of 50 comments and its viewers, each with a token.
fn setup(encoding: Encoding, origin: &Origin) -> Vec<Batch> {
    let mut inputs = vec![lease()];
    for viewer in 1..=VIEWERS {
        inputs.push(opened(viewer, encoding, token(viewer)));
        inputs.push(join(viewer, encoding, "demo"));
    }
    let state: StreamState = origin.state();
    inputs.push(control(Some(TOPIC), &Control::State(Some(Box::new(state)))));
    vec![(START_MS, inputs)]
}

fn origin() -> Origin {
    let mut origin = Origin::new("demo", &["eu", "us"]);
    for id in 1..=50 {
        origin.write("eu", id, &text(id));
    }
    origin
}

fn batches(messages: u64, batch: u64, mut inputs: impl FnMut(u64) -> Vec<Input>) -> Vec<Batch> {
    let count = messages.div_ceil(batch);
    let batch_of = |b: u64| (b * batch..(b + 1) * batch).flat_map(&mut inputs).collect();
    (0..count)
        .map(batch_of)
        .enumerate()
        .map(|(b, inputs)| (START_MS + 1_000 + b as u64, inputs))
        .collect()
}

fn post(connection: u64, encoding: Encoding, stream: &str, i: u64) -> Input {
    let payload = json!({"stream_id": stream, "client_id": format!("c-{i}"), "content": text(i)});
    frame(connection, encoding, "post_comment", &payload)
}

/// The answer to the post one batch before `i`: requests are numbered from 1.
fn answer(i: u64, batch: u64) -> Option<Input> {
    i.checked_sub(batch).map(|before| Input::Published {
        request: before + 1,
        outcome: Outcome::Stored {
            id: CommentId(before + 1_000),
            duplicate: false,
        },
    })
}

/// Posts with every check, and the log's answer to each.
fn posts(encoding: Encoding, messages: u64, batch: u64) -> Workload {
    let batches = batches(messages, batch, |i| {
        let post = post(1 + i % VIEWERS, encoding, "demo", i);
        [Some(post), answer(i, batch)]
            .into_iter()
            .flatten()
            .collect()
    });
    Workload {
        name: match encoding {
            Encoding::Json => "post, with its answer",
            Encoding::MsgPack => "MessagePack post, with its answer",
        },
        config: config(),
        setup: setup(encoding, &origin()),
        batches,
        messages,
    }
}

fn delivered(origin: &mut Origin, topic: u32, i: u64) -> Input {
    let mut delivery = origin.write("eu", 1_000 + i, &text(i));
    // Only what each delivery says matters: the logs need not grow along.
    if let Some((_, events)) = origin.logs.get_mut("eu") {
        events.drain(..events.len() - 1);
    }
    delivery
        .events
        .iter_mut()
        .for_each(|event| event.seq = delivery.to);
    Input::Delivered {
        topic,
        data: rmp_serde::to_vec_named(&delivery).unwrap(),
    }
}

/// Comments delivered to the viewers.
fn deliveries(messages: u64, batch: u64) -> Workload {
    let mut origin = origin();
    let setup = setup(Encoding::Json, &origin);
    let batches = batches(messages, batch, |i| vec![delivered(&mut origin, TOPIC, i)]);
    Workload {
        name: "comment delivered to 1,000 viewers",
        config: config(),
        setup,
        batches,
        messages,
    }
}

/// Anonymous viewers that come, join with the 50 newest, and go.
fn joins(messages: u64, batch: u64) -> Workload {
    let batches = batches(messages, batch, |i| {
        let connection = VIEWERS + 1 + i;
        vec![
            opened(connection, Encoding::Json, None),
            join(connection, Encoding::Json, "demo"),
            Input::Closed(connection),
        ]
    });
    Workload {
        name: "connection: open, join, close",
        config: config(),
        setup: setup(Encoding::Json, &origin()),
        batches,
        messages,
    }
}

/// Reactions of `count` 20.
fn reacts(messages: u64, batch: u64) -> Workload {
    let payload = json!({"stream_id": "demo", "reaction_type": "like", "count": 20});
    let batches = batches(messages, batch, |i| {
        vec![frame(1 + i % VIEWERS, Encoding::Json, "react", &payload)]
    });
    Workload {
        name: "react",
        config: config(),
        setup: setup(Encoding::Json, &origin()),
        batches,
        messages,
    }
}

/// Streams of the workload with many.
const STREAMS: u64 = 1_000;
/// Viewers of each of them.
const STREAM_VIEWERS: u64 = 10;

/// Many small streams: in each a viewer posts once a second, the log answers and delivers it to all ten.
fn streams(messages: u64, batch: u64) -> Workload {
    let name = |stream: u64| format!("stream-{stream}");
    let mut origins: Vec<Origin> = (0..STREAMS)
        .map(|stream| Origin::new(&name(stream), &["eu", "us"]))
        .collect();
    let mut inputs = vec![lease()];
    for (stream, origin) in origins.iter().enumerate() {
        let first = 1 + stream as u64 * STREAM_VIEWERS;
        for viewer in first..first + STREAM_VIEWERS {
            let token = (viewer == first).then(|| token(viewer)).flatten();
            inputs.push(opened(viewer, Encoding::Json, token));
            inputs.push(join(viewer, Encoding::Json, &name(stream as u64)));
        }
        let state = Control::State(Some(Box::new(origin.state())));
        inputs.push(control(Some(TOPIC + stream as u32), &state));
    }
    let mut batches = batches(messages, batch, |i| {
        let stream = i % STREAMS;
        let post = post(
            1 + stream * STREAM_VIEWERS,
            Encoding::Json,
            &name(stream),
            i,
        );
        let delivery = i.checked_sub(batch).map(|before| {
            let stream = before % STREAMS;
            let origin = &mut origins[stream as usize];
            delivered(origin, TOPIC + stream as u32, before)
        });
        [Some(post), answer(i, batch), delivery]
            .into_iter()
            .flatten()
            .collect()
    });
    // A message a millisecond, so that each stream has one a second.
    for (b, (now, _)) in batches.iter_mut().enumerate() {
        *now = START_MS + 1_000 + b as u64 * batch;
    }
    Workload {
        name: "post, answer, delivery in 1,000 streams",
        config: config(),
        setup: vec![(START_MS, inputs)],
        batches,
        messages,
    }
}
