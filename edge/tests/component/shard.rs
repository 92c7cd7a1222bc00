//! A minimal shard: a supervisor, members and blobs, and the messages sent to each viewer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chorus_edge::component::{
    Bounds, Control, Delivered, Encoding, Frame, Input, Logic, Opened, Outcome, Output, Published,
    Stored, Supervisor, Transport, Verdict,
};
use chorus_protocol::backhaul::StreamState;
use chorus_protocol::session::{Control as SessionControl, Delivery, SessionConfig};
use chorus_protocol::{Envelope, Millis, StreamId};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

pub(crate) const START: u64 = 1_800_000_000_000;

/// The messages sent to one viewer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Viewer {
    pub(crate) messages: Vec<Value>,
    pub(crate) closed: Option<u16>,
}

impl Viewer {
    /// The messages independent of batches: all comments in order, and all other messages in order.
    pub(crate) fn flat(&self) -> (Vec<Value>, Vec<Value>) {
        let (mut comments, mut others) = (Vec::new(), Vec::new());
        for message in &self.messages {
            match message["payload"]["comments"].as_array() {
                Some(batch) if message["type"] == "comments_batch" => {
                    comments.extend(batch.iter().cloned());
                }
                _ => others.push(message.clone()),
            }
        }
        (comments, others)
    }
}

pub(crate) struct Shard {
    pub(crate) supervisor: Supervisor,
    pub(crate) now: u64,
    pub(crate) viewers: BTreeMap<u64, Viewer>,
    pub(crate) verdicts: Vec<Verdict>,
    /// The longest time of a batch, in CPU of this thread, which does not depend on the machine's load.
    pub(crate) stall: Duration,
    /// Requests and ids of pending posts.
    pub(crate) posts: Vec<(u64, u64)>,
    /// Connections that the logic closed and that are not reported as closed yet.
    closing: Vec<u64>,
    topics: BTreeMap<String, u32>,
    members: BTreeMap<u32, BTreeSet<u64>>,
    blobs: BTreeMap<u64, Vec<u8>>,
    wake: Option<u64>,
}

pub(crate) fn config() -> Vec<u8> {
    let config = SessionConfig {
        shard: 1,
        keys: vec![chorus_session_scenarios::tokens::key()],
        ..SessionConfig::default()
    };
    serde_json::to_vec(&config).expect("encodes")
}

pub(crate) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub(crate) fn opened(connection: u64, token: Option<String>) -> Input {
    Input::Opened(Opened {
        connection,
        transport: Transport::Websocket,
        encoding: Encoding::Json,
        token,
    })
}

pub(crate) fn frame(connection: u64, kind: &str, payload: &Value) -> Input {
    let data = json!({"type": kind, "payload": payload}).to_string();
    Input::Frame(Frame {
        connection,
        data: data.into_bytes(),
    })
}

impl Shard {
    pub(crate) fn new(logic: Arc<Logic>, bounds: Bounds) -> Self {
        Self {
            supervisor: Supervisor::new(logic, &config(), 42, bounds).expect("starts"),
            now: START,
            viewers: BTreeMap::new(),
            verdicts: Vec::new(),
            stall: Duration::ZERO,
            posts: Vec::new(),
            closing: Vec::new(),
            topics: BTreeMap::new(),
            members: BTreeMap::new(),
            blobs: BTreeMap::new(),
            wake: None,
        }
    }

    pub(crate) fn feed(&mut self, mut inputs: Vec<Input>) -> Verdict {
        let mut outputs = Vec::new();
        let before = cpu();
        let verdict = self
            .supervisor
            .handle(Millis(self.now), &mut inputs, &mut outputs);
        self.stall = self.stall.max(cpu() - before);
        assert!(inputs.is_empty(), "inputs are drained");
        self.verdicts.push(verdict);
        if verdict == Verdict::Reset {
            self.forget();
        }
        for output in outputs {
            self.carry_out(output);
        }
        let closed: Vec<Input> = self.closing.drain(..).map(Input::Closed).collect();
        if !closed.is_empty() {
            self.feed(closed);
        }
        verdict
    }

    /// As after a panic of the shard: replaces the supervisor by an empty one.
    pub(crate) fn begin_anew(&mut self) {
        let counted = self.supervisor.counted();
        self.supervisor = self.supervisor.restarted(counted).expect("starts");
        self.forget();
    }

    fn forget(&mut self) {
        self.topics.clear();
        self.members.clear();
        self.blobs.clear();
        self.wake = None;
    }

    /// Advances the time; sends timers when they are due.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(at) = self.wake.filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.wake = None;
            self.feed(vec![Input::Timer]);
        }
        self.now = end;
    }

    pub(crate) fn process(&mut self) {
        let lease = SessionControl::Lease {
            worker: 3,
            until_ms: Millis(self.now + 3_600_000),
        };
        let backhaul = SessionControl::Backhaul { connected: true };
        let told = [lease, backhaul].map(|control| control_input(None, &control));
        self.feed(told.into());
    }

    pub(crate) fn state(&mut self, state: StreamState) {
        let topic = self.topic(&state.info.stream_id);
        let control = SessionControl::State(Some(Box::new(state)));
        self.feed(vec![control_input(Some(topic), &control)]);
    }

    pub(crate) fn delivered(&self, stream: &StreamId, delivery: &Delivery) -> Input {
        let topic = self.topic(stream);
        let data = rmp_serde::to_vec_named(delivery).expect("encodes");
        Input::Delivered(Delivered { topic, data })
    }

    pub(crate) fn follows(&self, stream: &StreamId) -> bool {
        self.topics.contains_key(&format!("stream:{stream}"))
    }

    fn topic(&self, stream: &StreamId) -> u32 {
        self.topics[&format!("stream:{stream}")]
    }

    /// Outcomes for all pending posts.
    pub(crate) fn stored(&mut self) -> Vec<Input> {
        let stored = |(request, id)| {
            let duplicate = false;
            let outcome = Outcome::Stored(Stored { id, duplicate });
            Input::Published(Published { request, outcome })
        };
        self.posts.drain(..).map(stored).collect()
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send(send) => {
                let mut bytes = send.head;
                if let Some(blob) = send.blob {
                    bytes.extend(&self.blobs[&blob]);
                }
                bytes.extend(send.tail);
                self.receive(send.connection, &bytes);
            }
            Output::Broadcast(broadcast) => {
                let members = self.members.get(&broadcast.topic);
                let members: Vec<u64> = members.into_iter().flatten().copied().collect();
                for member in members {
                    self.receive(member, &broadcast.data);
                }
            }
            Output::Keep(keep) => {
                self.blobs.insert(keep.blob, keep.data);
            }
            Output::Forget(blob) => {
                self.blobs.remove(&blob).expect("a blob that is kept");
            }
            Output::Join(join) => {
                self.members
                    .entry(join.topic)
                    .or_default()
                    .insert(join.connection);
            }
            Output::Leave(leave) => {
                self.members
                    .entry(leave.topic)
                    .or_default()
                    .remove(&leave.connection);
            }
            Output::Publish(publish) => {
                let event = Envelope::read(&publish.event).expect("an event");
                self.posts.push((publish.request, event.id.0));
            }
            Output::Subscribe(subscribe) => {
                self.topics.insert(subscribe.name, subscribe.topic);
            }
            Output::Close(close) => {
                for members in self.members.values_mut() {
                    members.remove(&close.connection);
                }
                let viewer = self.viewers.entry(close.connection).or_default();
                assert_eq!(viewer.closed, None, "closed once");
                viewer.closed = Some(close.code);
                self.closing.push(close.connection);
            }
            Output::WakeAt(at) => self.wake = Some(at),
            Output::Unsubscribe(_) | Output::Replay(_) | Output::Count(_) => {}
        }
    }

    fn receive(&mut self, connection: u64, bytes: &[u8]) {
        let message = serde_json::from_slice(bytes).expect("JSON");
        let viewer = self.viewers.entry(connection).or_default();
        assert_eq!(viewer.closed, None, "nothing is sent after a close");
        viewer.messages.push(message);
    }
}

fn control_input(topic: Option<u32>, control: &SessionControl) -> Input {
    let data = rmp_serde::to_vec_named(control).expect("encodes");
    Input::Control(Control { topic, data })
}
