//! A host that keeps the contract to the letter and complains when the session does not: fake time, fake sockets,
//! real messages.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chorus_protocol::backhaul::StreamState;
use chorus_protocol::codec::{decode_server, encode};
use chorus_protocol::server::{Joined, Receipt, ServerMessage};
use chorus_protocol::session::{Control, Delivery, ReplayRange, Replayed, SessionConfig};
use chorus_protocol::stream::Life;
use chorus_protocol::{Encoding, Millis, Outcome, UserId};
use chorus_session_core::{Input, Opened, Output, Transport};
use serde::Serialize;
use serde_json::{Value, json};

use crate::machine::{Machine, Make};
pub use crate::publication::Publication;
use crate::tokens;

/// When every scenario begins.
pub const START_MS: u64 = 1_800_000_000_000;

/// One viewer's side of a connection.
#[derive(Debug)]
pub struct Client {
    /// How it speaks.
    pub encoding: Encoding,
    /// What came and was not looked at.
    pub inbox: VecDeque<ServerMessage>,
    /// With which code it was closed.
    pub closed: Option<u16>,
    /// Bytes that came.
    pub bytes: u64,
}

/// A question to the logs.
#[derive(Clone, Debug)]
pub struct Asked {
    /// To be answered.
    pub request: u64,
    /// Of which topic.
    pub topic: u32,
    /// What is asked.
    pub range: ReplayRange,
}

/// A `Count`: topic, reactions, viewers.
pub type Counted = (u32, Vec<(String, u64)>, Option<u64>);

/// The host.
pub struct Pop<'a> {
    make: Make<'a>,
    machine: Box<dyn Machine>,
    restarts: bool,
    /// What the machines are started with.
    pub config: SessionConfig,
    started: bool,
    /// The time.
    pub now: u64,
    wake: Option<u64>,
    next_connection: u64,
    /// Every connection there ever was.
    pub clients: BTreeMap<u64, Client>,
    /// Names of the topics that are followed.
    pub topics: BTreeMap<u32, String>,
    members: BTreeMap<u32, BTreeSet<u64>>,
    blobs: BTreeMap<u64, Vec<u8>>,
    /// Events handed to the log and not taken.
    pub published: VecDeque<Publication>,
    /// Questions to the logs not taken.
    pub asked: VecDeque<Asked>,
    /// Counts handed over: topic, reactions of all, viewers.
    pub counts: Vec<Counted>,
    /// Reactions handed over as those of a user whom limits hold.
    pub reacted: BTreeMap<UserId, u64>,
    /// Topics given up.
    pub given_up: Vec<u32>,
    /// Followed topics whose state was asked for again.
    pub lost: Vec<u32>,
    /// `Broadcast`s carried out.
    pub broadcasts: u64,
    /// `Keep`s carried out.
    pub keeps: u64,
    /// `Join`s carried out, in order: connection and audience.
    pub joins: Vec<(u64, chorus_session_core::Audience)>,
}

impl<'a> Pop<'a> {
    /// A host of new machines; with `restarts` each batch goes to a machine restored from the last one's snapshot.
    #[must_use]
    pub fn new(make: Make<'a>, restarts: bool) -> Self {
        let machine = make();
        Self {
            make,
            machine,
            restarts,
            config: SessionConfig {
                shard: 2,
                keys: vec![tokens::key()],
                ..SessionConfig::default()
            },
            started: false,
            now: START_MS,
            wake: None,
            next_connection: 1,
            clients: BTreeMap::new(),
            topics: BTreeMap::new(),
            members: BTreeMap::new(),
            blobs: BTreeMap::new(),
            published: VecDeque::new(),
            asked: VecDeque::new(),
            counts: Vec::new(),
            reacted: BTreeMap::new(),
            given_up: Vec::new(),
            lost: Vec::new(),
            broadcasts: 0,
            keeps: 0,
            joins: Vec::new(),
        }
    }

    /// Hands a batch over and carries out what comes back.
    pub fn feed(&mut self, inputs: Vec<Input>) {
        if !self.started {
            let config = serde_json::to_vec(&self.config).unwrap();
            self.machine
                .init(&config, 7)
                .expect("the configuration is good");
            self.started = true;
        }
        if self.restarts {
            self.restart();
        }
        let outputs = self.machine.handle(self.now, inputs);
        for output in outputs {
            self.carry_out(output);
        }
    }

    /// Puts a new machine, restored from the old one's snapshot, in its place, where that can be done from here.
    pub fn restart(&mut self) {
        if self.machine.keeps_its_snapshots() {
            return;
        }
        let snapshot = self.machine.snapshot();
        let mut next = (self.make)();
        next.restore(&snapshot).expect("its own snapshot");
        assert_eq!(
            next.snapshot(),
            snapshot,
            "a restored machine knows the same"
        );
        self.machine = next;
    }

    /// The machine's snapshot.
    pub fn snapshot(&mut self) -> Vec<u8> {
        self.machine.snapshot()
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send {
                connection,
                head,
                blob,
                tail,
                patient: _,
            } => {
                let mut bytes = head;
                if let Some(blob) = blob {
                    bytes.extend(self.blobs.get(&blob).expect("a blob that is kept"));
                }
                bytes.extend(tail);
                self.receive(connection, &bytes);
            }
            Output::Broadcast {
                topic,
                encoding,
                data,
                ..
            } => {
                self.broadcasts += 1;
                let members: Vec<u64> = self
                    .members
                    .get(&topic)
                    .into_iter()
                    .flatten()
                    .copied()
                    .collect();
                let mut reached = 0;
                for connection in members {
                    if self.clients[&connection].encoding == encoding {
                        self.receive(connection, &data);
                        reached += 1;
                    }
                }
                assert!(reached > 0, "a broadcast to nobody");
            }
            Output::Keep { blob, data } => {
                self.keeps += 1;
                assert!(
                    self.blobs.insert(blob, data).is_none(),
                    "a blob's number is used once"
                );
            }
            Output::Forget(blob) => {
                assert!(
                    self.blobs.remove(&blob).is_some(),
                    "only what is kept is forgotten"
                );
            }
            Output::Join {
                connection,
                topic,
                audience,
            } => {
                assert!(
                    self.topics.contains_key(&topic),
                    "joins a topic that is followed"
                );
                assert_eq!(
                    self.clients[&connection].closed, None,
                    "joins an open connection"
                );
                self.members.entry(topic).or_default().insert(connection);
                self.joins.push((connection, audience));
            }
            Output::Leave { connection, topic } => {
                assert!(
                    self.members.entry(topic).or_default().remove(&connection),
                    "leaves what it joined"
                );
            }
            Output::Publish { request, event, .. } => {
                self.published.push_back(Publication::new(request, event));
            }
            Output::Count {
                topic,
                reactions,
                users,
                viewers,
            } => {
                let mut all: BTreeMap<String, u64> = reactions.into_iter().collect();
                for (user, reactions) in users {
                    let of_user = self.reacted.entry(user).or_default();
                    for (kind, by) in reactions {
                        *all.entry(kind).or_default() += by;
                        *of_user += by;
                    }
                }
                self.counts
                    .push((topic, all.into_iter().collect(), viewers));
            }
            Output::Subscribe { topic, name } => {
                if let Some(before) = self.topics.insert(topic, name.clone()) {
                    assert_eq!(before, name, "a topic's number is used once");
                    self.lost.push(topic);
                }
            }
            Output::Unsubscribe(topic) => {
                assert!(
                    self.topics.remove(&topic).is_some(),
                    "gives up what it followed"
                );
                assert!(
                    self.members.get(&topic).is_none_or(BTreeSet::is_empty),
                    "nobody is left behind"
                );
                self.given_up.push(topic);
            }
            Output::Replay {
                request,
                topic,
                range,
            } => {
                let range = rmp_serde::from_slice(&range).expect("a range");
                self.asked.push_back(Asked {
                    request,
                    topic,
                    range,
                });
            }
            Output::Close {
                connection, code, ..
            } => {
                let client = self
                    .clients
                    .get_mut(&connection)
                    .expect("a connection of ours");
                assert_eq!(client.closed, None, "a connection is closed once");
                client.closed = Some(code);
                self.members.values_mut().for_each(|members| {
                    members.remove(&connection);
                });
            }
            Output::WakeAt(at) => {
                assert!(at > self.now, "what is due is done at once");
                self.wake = Some(at);
            }
        }
    }

    fn receive(&mut self, connection: u64, bytes: &[u8]) {
        let client = self
            .clients
            .get_mut(&connection)
            .expect("a connection of ours");
        assert_eq!(client.closed, None, "nothing is sent after a close");
        client.bytes += bytes.len() as u64;
        let message = decode_server(client.encoding, bytes);
        client.inbox.push_back(
            message.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes))),
        );
    }

    /// Lets time pass; timers go off when they are due.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(at) = self.wake.filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.wake = None;
            self.feed(vec![Input::Timer]);
        }
        self.now = end;
    }

    /// A new connection's input and its number.
    pub fn opening(&mut self, encoding: Encoding, token: Option<String>) -> (u64, Input) {
        let connection = self.next_connection;
        self.next_connection += 1;
        let client = Client {
            encoding,
            inbox: VecDeque::new(),
            closed: None,
            bytes: 0,
        };
        self.clients.insert(connection, client);
        let transport = Transport::WebSocket;
        (
            connection,
            Input::Opened(Opened {
                connection,
                transport,
                encoding,
                token,
            }),
        )
    }

    /// A new connection.
    pub fn open(&mut self, encoding: Encoding, token: Option<String>) -> u64 {
        let (connection, input) = self.opening(encoding, token);
        self.feed(vec![input]);
        connection
    }

    /// A token that ends in an hour.
    #[must_use]
    pub fn token(&self, user: &str, role: &str) -> String {
        tokens::token(user, role, self.now + 3_600_000)
    }

    /// A client's message as an input.
    #[must_use]
    pub fn frame(&self, connection: u64, kind: &str, payload: &impl Serialize) -> Input {
        let message = json!({"type": kind, "payload": payload});
        let mut data = Vec::new();
        encode(self.clients[&connection].encoding, &message, &mut data).expect("encodes");
        Input::Frame { connection, data }
    }

    /// A client says something.
    pub fn say(&mut self, connection: u64, kind: &str, payload: &Value) {
        let frame = self.frame(connection, kind, payload);
        self.feed(vec![frame]);
    }

    /// A client posts a text.
    pub fn post(&mut self, connection: u64, stream: &str, client_id: &str, content: &str) {
        let payload = json!({"stream_id": stream, "client_id": client_id, "content": content});
        self.say(connection, "post_comment", &payload);
    }

    /// The viewer goes away.
    pub fn gone(&mut self, connection: u64) {
        let client = self
            .clients
            .get_mut(&connection)
            .expect("a connection of ours");
        if client.closed.is_none() {
            client.closed = Some(1006);
        }
        self.members.values_mut().for_each(|members| {
            members.remove(&connection);
        });
        self.feed(vec![Input::Closed(connection)]);
    }

    /// The number of a stream's topic.
    #[must_use]
    pub fn topic(&self, stream: &str) -> u32 {
        let name = format!("stream:{stream}");
        let found = self.topics.iter().find(|(_, known)| **known == name);
        *found
            .unwrap_or_else(|| panic!("{stream} is not followed"))
            .0
    }

    /// Says how a stream stands.
    pub fn state(&mut self, stream: &str, state: Option<StreamState>) {
        let control = Control::State(state.map(Box::new));
        let data = rmp_serde::to_vec_named(&control).unwrap();
        let topic = Some(self.topic(stream));
        self.feed(vec![Input::Control { topic, data }]);
    }

    /// Says how a stream itself stands.
    pub fn life(&mut self, stream: &str, life: &Life) {
        let control = Control::Life(Box::new(life.clone()));
        let data = rmp_serde::to_vec_named(&control).unwrap();
        let topic = Some(self.topic(stream));
        self.feed(vec![Input::Control { topic, data }]);
    }

    /// A delivery as an input.
    #[must_use]
    pub fn delivery(&self, stream: &str, delivery: &Delivery) -> Input {
        let data = rmp_serde::to_vec_named(delivery).unwrap();
        Input::Delivered {
            topic: self.topic(stream),
            data,
        }
    }

    /// Hands a delivery over.
    pub fn deliver(&mut self, stream: &str, delivery: &Delivery) {
        let input = self.delivery(stream, delivery);
        self.feed(vec![input]);
    }

    /// Answers a question to the logs.
    pub fn replay(&mut self, request: u64, replayed: &Replayed) {
        let data = rmp_serde::to_vec_named(replayed).unwrap();
        self.feed(vec![Input::Replayed { request, data }]);
    }

    /// Leases a worker number for an hour.
    pub fn lease(&mut self) {
        let control = Control::Lease {
            worker: 5,
            until_ms: Millis(self.now + 3_600_000),
        };
        let data = rmp_serde::to_vec_named(&control).unwrap();
        self.feed(vec![Input::Control { topic: None, data }]);
    }

    /// The log answers a publication.
    pub fn answer(&mut self, request: u64, outcome: Outcome) {
        self.feed(vec![Input::Published { request, outcome }]);
    }

    /// The one event that is on its way.
    pub fn publication(&mut self) -> Publication {
        assert_eq!(self.published.len(), 1, "one event is on its way");
        self.published.pop_front().unwrap()
    }

    /// What came to a client since the last look.
    pub fn take(&mut self, connection: u64) -> Vec<ServerMessage> {
        self.clients
            .get_mut(&connection)
            .expect("a connection of ours")
            .inbox
            .drain(..)
            .collect()
    }

    /// The one thing that came.
    pub fn take_one(&mut self, connection: u64) -> ServerMessage {
        let mut all = self.take(connection);
        assert_eq!(all.len(), 1, "one message: {all:?}");
        all.remove(0)
    }

    /// The one `joined` that came.
    pub fn take_joined(&mut self, connection: u64) -> Joined {
        match self.take_one(connection) {
            ServerMessage::Joined(joined) => *joined,
            other => panic!("not joined: {other:?}"),
        }
    }

    /// The receipts that came, nothing else.
    pub fn take_receipts(&mut self, connection: u64) -> Vec<Receipt> {
        let receipt = |message| match message {
            ServerMessage::Receipt(receipt) => receipt,
            other => panic!("not a receipt: {other:?}"),
        };
        self.take(connection).into_iter().map(receipt).collect()
    }

    /// The code of the one error that came.
    pub fn take_error(&mut self, connection: u64) -> String {
        match self.take_one(connection) {
            ServerMessage::Error(refusal) => refusal.code,
            other => panic!("not an error: {other:?}"),
        }
    }

    /// With which code a connection was closed.
    #[must_use]
    pub fn closed(&self, connection: u64) -> Option<u16> {
        self.clients[&connection].closed
    }

    /// How many members a stream has.
    #[must_use]
    pub fn members(&self, stream: &str) -> usize {
        self.members
            .get(&self.topic(stream))
            .map_or(0, BTreeSet::len)
    }
}
