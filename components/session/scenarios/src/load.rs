//! The workloads of the benchmarks: the same for the core natively and for the component in its host.
//!
//! Every check is on; buckets are raised and users are many, so that the checks pass.

use chorus_protocol::backhaul::StreamState;
use chorus_protocol::limits::Limits;
use chorus_protocol::session::{Control, SessionConfig};
use chorus_protocol::{Encoding, Millis};
use chorus_session_core::{Input, Opened, Outcome, Transport};
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
        posts(messages, batch),
        deliveries(messages, batch),
        joins(messages, batch),
        reacts(messages, batch),
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

fn frame(connection: u64, kind: &str, payload: &Value) -> Input {
    Input::Frame {
        connection,
        data: json!({"type": kind, "payload": payload})
            .to_string()
            .into_bytes(),
    }
}

fn join(connection: u64) -> Input {
    frame(connection, "join_stream", &json!({"stream_id": "demo"}))
}

fn opened(connection: u64, token: Option<String>) -> Input {
    Input::Opened(Opened {
        connection,
        transport: Transport::WebSocket,
        encoding: Encoding::Json,
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

/// A stream of 50 comments and its viewers, each with a token.
fn setup(origin: &Origin) -> Vec<Batch> {
    let expires = START_MS + 86_400_000;
    let mut inputs = vec![control(
        None,
        &Control::Lease {
            worker: 1,
            until_ms: Millis(expires),
        },
    )];
    for viewer in 1..=VIEWERS {
        inputs.push(opened(
            viewer,
            Some(tokens::token(&format!("user-{viewer}"), "user", expires)),
        ));
        inputs.push(join(viewer));
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

/// Posts with every check, and the log's answer to each.
fn posts(messages: u64, batch: u64) -> Workload {
    let batches = batches(messages, batch, |i| {
        let payload =
            json!({"stream_id": "demo", "client_id": format!("c-{i}"), "content": text(i)});
        let post = frame(1 + i % VIEWERS, "post_comment", &payload);
        // The answer to the post one batch ago: requests are numbered from 1.
        let answer = i.checked_sub(batch).map(|before| Input::Published {
            request: before + 1,
            outcome: Outcome::Stored {
                id: before + 1_000,
                duplicate: false,
            },
        });
        [Some(post), answer].into_iter().flatten().collect()
    });
    Workload {
        name: "post, with its answer",
        config: config(),
        setup: setup(&origin()),
        batches,
        messages,
    }
}

/// Comments delivered to the viewers.
fn deliveries(messages: u64, batch: u64) -> Workload {
    let mut origin = origin();
    let setup = setup(&origin);
    // Only what each delivery says matters: the logs need not grow along.
    let batches = batches(messages, batch, |i| {
        let mut delivery = origin.write("eu", 1_000 + i, &text(i));
        if let Some((_, items)) = origin.logs.get_mut("eu") {
            items.drain(..items.len() - 1);
        }
        delivery
            .items
            .iter_mut()
            .for_each(|item| item.seq = delivery.to);
        vec![Input::Delivered {
            topic: TOPIC,
            data: rmp_serde::to_vec_named(&delivery).unwrap(),
        }]
    });
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
            opened(connection, None),
            join(connection),
            Input::Closed(connection),
        ]
    });
    Workload {
        name: "connection: open, join, close",
        config: config(),
        setup: setup(&origin()),
        batches,
        messages,
    }
}

/// Reactions of `count` 20.
fn reacts(messages: u64, batch: u64) -> Workload {
    let payload = json!({"stream_id": "demo", "reaction_type": "like", "count": 20});
    let batches = batches(messages, batch, |i| {
        vec![frame(1 + i % VIEWERS, "react", &payload)]
    });
    Workload {
        name: "react",
        config: config(),
        setup: setup(&origin()),
        batches,
        messages,
    }
}
