//! Updates of comments through a whole session, put in as decisions: what comes of each way they can take.

use chorus_protocol::backhaul::StreamState;
use chorus_protocol::codec::decode_server;
use chorus_protocol::event::{CommentUpdate, Decision};
use chorus_protocol::server::ServerMessage;
use chorus_protocol::session::{Control, Delivery};
use chorus_protocol::stream::{Settings, StreamInfo, StreamStatus};
use chorus_protocol::{CommentId, Encoding, Envelope, Event, Millis, Offset, Position, Region};

use super::Session;
use crate::io::{ConnectionId, Input, Opened, Output, Transport};
use crate::stream::decided::Decided;
use crate::stream::missed::Brought;
use crate::stream::resume::JobWaiter;

const TOPIC: u32 = 1;
const EPOCH: u64 = 1;
const HIGHLIGHT: CommentUpdate = CommentUpdate {
    highlighted: Some(true),
    pinned: None,
};

fn region() -> Region {
    "eu".parse().expect("a region")
}

fn place(seq: u64) -> Position {
    Position([(region(), Offset { epoch: EPOCH, seq })].into())
}

fn comment(id: u64) -> Vec<u8> {
    chorus_session_scenarios::origin::comment("demo", id, "hi")
}

fn decided(event: u64, target: u64, seq: u64, update: CommentUpdate) -> Decided {
    Decided {
        event: CommentId(event),
        seq,
        decision: Decision::Update {
            target: CommentId(target),
            update,
        },
    }
}

/// A shard whose stream has one log, in which a sequence is a comment's id.
struct Shard {
    session: Session,
    now: u64,
    blobs: std::collections::BTreeMap<u64, Vec<u8>>,
    /// What each connection got; broadcasts go to all that joined.
    inbox: Vec<(ConnectionId, ServerMessage)>,
    members: Vec<(ConnectionId, Encoding)>,
}

impl Shard {
    /// With these comments and two members, one of each encoding.
    fn new(newest: &[u64], batching: &str) -> Self {
        let config = format!(r#"{{"batching":{batching}}}"#);
        let mut shard = Self {
            session: Session::init(config.as_bytes(), 1).expect("a configuration"),
            now: 1_000_000,
            blobs: std::collections::BTreeMap::new(),
            inbox: Vec::new(),
            members: Vec::new(),
        };
        shard.join(1, Encoding::Json, None);
        shard.state(newest);
        shard.join(2, Encoding::MsgPack, None);
        shard.take(1);
        shard.take(2);
        shard
    }

    fn state(&mut self, newest: &[u64]) {
        let event = |&id: &u64| Event {
            region: region(),
            epoch: EPOCH,
            seq: id,
            body: comment(id),
        };
        let state = StreamState {
            info: StreamInfo {
                stream_id: "demo".parse().expect("a stream"),
                title: String::new(),
                description: String::new(),
                broadcaster_id: "caster".parse().expect("a user"),
                status: StreamStatus::Live,
                created_at_ms: Millis(1),
                settings: Settings::default(),
                home_region: None,
            },
            life_seq: 1,
            at: place(newest.last().copied().unwrap_or(0)),
            newest: newest.iter().map(event).collect(),
            comment_count: newest.len() as u64,
            reactions: std::collections::BTreeMap::new(),
            viewer_count: 0,
        };
        let data = rmp_serde::to_vec_named(&Control::State(Some(Box::new(state))));
        let (topic, data) = (Some(TOPIC), data.expect("writes"));
        self.feed(Input::Control { topic, data });
    }

    fn feed(&mut self, input: Input) {
        let mut out = Vec::new();
        self.session.handle(Millis(self.now), vec![input], &mut out);
        self.carry_out(out);
    }

    fn carry_out(&mut self, out: Vec<Output>) {
        for output in out {
            #[allow(
                clippy::wildcard_enum_match_arm,
                reason = "the others say nothing here"
            )]
            match output {
                Output::Send {
                    connection,
                    head,
                    blob,
                    tail,
                    ..
                } => {
                    let held = blob.and_then(|blob| self.blobs.get(&blob).cloned());
                    let data = [head, held.unwrap_or_default(), tail].concat();
                    let encoding = self.session.conns.encoding(connection).expect("open");
                    let message = decode_server(encoding, &data).expect("a message");
                    self.inbox.push((connection, message));
                }
                Output::Broadcast { encoding, data, .. } => {
                    let message = decode_server(encoding, &data).expect("a message");
                    for &(connection, of) in &self.members {
                        if of == encoding {
                            self.inbox.push((connection, message.clone()));
                        }
                    }
                }
                Output::Join { connection, .. } => {
                    let encoding = self.session.conns.encoding(connection).expect("open");
                    self.members.push((connection, encoding));
                }
                Output::Keep { blob, data } => drop(self.blobs.insert(blob, data)),
                _ => {}
            }
        }
    }

    fn join(&mut self, connection: ConnectionId, encoding: Encoding, resume: Option<&Position>) {
        self.feed(Input::Opened(Opened {
            connection,
            transport: Transport::WebSocket,
            encoding,
            token: None,
        }));
        let mut payload = serde_json::json!({"stream_id": "demo"});
        if let Some(place) = resume {
            payload["resume"] = place.to_token().into();
        }
        let message = serde_json::json!({"type": "join_stream", "payload": payload});
        let mut data = Vec::new();
        chorus_protocol::codec::encode(encoding, &message, &mut data).expect("writes");
        self.feed(Input::Frame { connection, data });
    }

    fn deliver(&mut self, id: u64, from: u64) {
        let delivery = Delivery {
            region: region(),
            epoch: EPOCH,
            from,
            to: id,
            events: vec![Event {
                region: region(),
                epoch: EPOCH,
                seq: id,
                body: comment(id),
            }],
        };
        let data = rmp_serde::to_vec_named(&delivery).expect("writes");
        self.feed(Input::Delivered { topic: TOPIC, data });
    }

    /// What a delivery that holds one update does.
    fn update(&mut self, event: u64, target: u64, seq: u64, update: CommentUpdate) {
        let mut out = Vec::new();
        let live = self.session.streams.live(TOPIC).expect("live");
        let early = live.pending.len();
        let to = Offset { epoch: EPOCH, seq };
        let decided = vec![decided(event, target, seq, update)];
        self.session
            .decide_all(TOPIC, &region(), to, early, decided, &mut out);
        self.carry_out(out);
    }

    fn take(&mut self, connection: ConnectionId) -> Vec<ServerMessage> {
        let (mine, others) = std::mem::take(&mut self.inbox)
            .into_iter()
            .partition(|(of, _)| *of == connection);
        self.inbox = others;
        let mine: Vec<(ConnectionId, ServerMessage)> = mine;
        mine.into_iter().map(|(_, message)| message).collect()
    }

    fn restart(&mut self) {
        let bytes = self.session.snapshot();
        self.session = Session::restore(&bytes).expect("its own snapshot");
        assert_eq!(self.session.snapshot(), bytes);
    }
}

fn updated(comment: u64, update: CommentUpdate) -> ServerMessage {
    ServerMessage::CommentUpdated {
        stream_id: "demo".parse().expect("a stream"),
        comment_id: CommentId(comment),
        update,
    }
}

/// The comments of a `joined` or a batch: their ids, and whether each is highlighted.
fn comments(message: &ServerMessage) -> Vec<(u64, bool)> {
    let comments = if let ServerMessage::Joined(joined) = message {
        &joined.comments
    } else if let ServerMessage::CommentsBatch { comments, .. } = message {
        comments
    } else {
        panic!("no comments: {message:?}")
    };
    comments
        .iter()
        .map(|it| (it.id.0, it.highlighted))
        .collect()
}

fn resume_of(message: &ServerMessage) -> &str {
    if let ServerMessage::Joined(joined) = message {
        &joined.resume
    } else if let ServerMessage::CommentsBatch { resume, .. } = message {
        resume
    } else {
        panic!("no place: {message:?}")
    }
}

#[test]
fn members_hear_of_an_update_and_who_joins_sees_it() {
    let mut shard = Shard::new(&[1, 2], "{}");
    shard.update(101, 2, 3, HIGHLIGHT);
    for member in [1, 2] {
        assert_eq!(shard.take(member), [updated(2, HIGHLIGHT)]);
    }
    // The same event again, by a replay, changes nothing.
    shard.update(101, 2, 3, HIGHLIGHT);
    assert!(shard.take(1).is_empty());
    shard.restart();
    for (connection, encoding) in [(3, Encoding::Json), (4, Encoding::MsgPack)] {
        shard.join(connection, encoding, None);
        let joined = shard.take(connection);
        assert_eq!(comments(&joined[0]), [(1, false), (2, true)]);
    }
    // An older word on it that comes later changes nothing, and says so.
    let off = CommentUpdate {
        highlighted: Some(false),
        pinned: Some(true),
    };
    shard.update(100, 2, 4, off);
    let both = CommentUpdate {
        highlighted: Some(true),
        pinned: Some(true),
    };
    assert_eq!(shard.take(1), [updated(2, both)]);
}

#[test]
fn a_pending_comment_is_shown_with_its_update() {
    let mut shard = Shard::new(&[1], r#"{"window_ms_max":100000}"#);
    for id in 2..=6 {
        shard.deliver(id, id - 1);
    }
    shard.take(1);
    let pending = shard
        .session
        .streams
        .live(TOPIC)
        .expect("live")
        .pending
        .len();
    assert!(pending > 0, "some wait");
    shard.update(101, 6, 7, HIGHLIGHT);
    assert!(
        shard.take(1).is_empty(),
        "nothing is said of what is not shown"
    );
    shard.restart();
    shard.now += 2_000;
    shard.feed(Input::Timer);
    let batch = shard.take(1);
    assert_eq!(comments(&batch[0]).last(), Some(&(6, true)));
}

#[test]
fn an_update_that_overtakes_its_comment_holds() {
    let mut shard = Shard::new(&[1], r#"{"window_ms_max":0}"#);
    shard.update(101, 9, 2, HIGHLIGHT);
    shard.take(1);
    shard.take(2);
    shard.restart();
    shard.deliver(9, 2);
    for member in [1, 2] {
        assert_eq!(comments(&shard.take(member)[0]), [(9, true)]);
    }
    // With a new state of the stream, too.
    shard.update(102, 20, 10, HIGHLIGHT);
    shard.state(&[1, 9, 20]);
    shard.join(5, Encoding::Json, None);
    let joined = shard.take(5).pop().expect("joined");
    assert_eq!(comments(&joined), [(1, false), (9, true), (20, true)]);
}

#[test]
fn what_was_removed_is_not_updated() {
    let mut shard = Shard::new(&[1, 2], "{}");
    let removal = Decided {
        event: CommentId(100),
        seq: 3,
        decision: Decision::Removal {
            target: CommentId(2),
            reason: "moderator".to_owned(),
        },
    };
    let both = vec![decided(99, 2, 3, HIGHLIGHT), removal];
    let mut out = Vec::new();
    let to = Offset {
        epoch: EPOCH,
        seq: 4,
    };
    shard
        .session
        .decide_all(TOPIC, &region(), to, 0, both, &mut out);
    shard.carry_out(out);
    shard.update(101, 2, 5, HIGHLIGHT);
    let told = shard.take(1);
    assert_eq!(told.len(), 1);
    assert!(matches!(told[0], ServerMessage::CommentsRemoved { .. }));
    shard.join(3, Encoding::Json, Some(&place(2)));
    let joined = shard.take(3);
    assert_eq!(joined.len(), 1, "{joined:?}");
}

#[test]
fn who_comes_back_hears_from_memory_what_it_missed() {
    let mut shard = Shard::new(&[1, 2], r#"{"window_ms_max":0}"#);
    shard.update(101, 2, 3, HIGHLIGHT);
    shard.deliver(4, 3);
    shard.update(102, 4, 5, HIGHLIGHT);
    for (connection, encoding) in [(3, Encoding::Json), (4, Encoding::MsgPack)] {
        shard.join(connection, encoding, Some(&place(2)));
        let told = shard.take(connection);
        assert_eq!(comments(&told[0]), [(4, true)], "it is shown with its own");
        assert_eq!(told[1], updated(2, HIGHLIGHT));
        assert_eq!(told.len(), 3);
        // Who goes away in between comes back to where it was.
        assert_eq!(resume_of(&told[0]), place(2).to_token());
        assert_eq!(comments(&told[2]), []);
        assert_eq!(resume_of(&told[2]), place(5).to_token());
    }
    shard.join(5, Encoding::Json, Some(&place(5)));
    let told = shard.take(5);
    assert_eq!((told.len(), comments(&told[0])), (1, vec![]));
    assert_eq!(resume_of(&told[0]), place(5).to_token());
}

#[test]
fn who_comes_back_hears_from_the_logs_what_it_missed() {
    let mut shard = Shard::new(&[1, 2, 3, 4], r#"{"window_ms_max":0}"#);
    // Memory begins at 4: the logs are asked.
    shard.join(3, Encoding::Json, Some(&place(1)));
    assert!(shard.take(3).is_empty());
    let live = shard.session.streams.live_mut(TOPIC).expect("live");
    let job = live.jobs.pop().expect("a question");
    let bodies = [comment(2), comment(4)];
    let read = |body| {
        let envelope = Envelope::read(body).expect("an event");
        let comment = chorus_protocol::CommentView::read(&envelope).expect("a comment");
        let seq = comment.id.0;
        Brought::Comment(comment, seq)
    };
    let mut brought: Vec<Brought<'_>> = bodies.iter().map(|body| read(body.as_slice())).collect();
    for (event, target) in [(101, 1), (102, 2)] {
        let decided = decided(event, target, 3, HIGHLIGHT);
        brought.push(Brought::Decision(decided, "eu", EPOCH));
    }
    let waiters: Vec<JobWaiter> = job.waiters;
    let mut out = Vec::new();
    let range = (&job.from, &job.to);
    shard
        .session
        .bring(TOPIC, range, brought, &waiters, &mut out);
    shard.carry_out(out);
    // The comments are here, and nobody was told: the updates lay in a part that was lost.
    let lost = [updated(1, HIGHLIGHT), updated(2, HIGHLIGHT)];
    assert_eq!(shard.take(1), lost);
    let told = shard.take(3);
    assert_eq!(comments(&told[0]), [(2, true), (4, false)]);
    assert_eq!(told[1], updated(1, HIGHLIGHT));
    assert_eq!(resume_of(&told[2]), place(4).to_token());
    shard.join(4, Encoding::MsgPack, None);
    let joined = shard.take(4);
    let all = [(1, true), (2, true), (3, false), (4, false)];
    assert_eq!(comments(&joined[0]), all);
}
