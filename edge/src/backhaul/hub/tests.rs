//! What a hub decides where no other part of it decides alone.

use chorus_protocol::backhaul::{Held, Published, StreamState, ToPop, read_frame, split_frame};
use chorus_protocol::codes::Reason;
use chorus_protocol::event::{AuthorRole, kind};
use chorus_protocol::session::{Delivery, ReplayRange};
use chorus_protocol::stream::{Settings, StreamInfo, StreamStatus};
use chorus_protocol::{CommentId, Envelope, Event, Offset, Position, Region, StreamId};

use super::*;
use crate::link::ToBackhaul;

const GENERATION: Generation = 1;

/// A hub and the time.
struct Bench {
    hub: Hub,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        let bounds = BackhaulBounds {
            early_max: 2,
            ..BackhaulBounds::default()
        };
        let metrics = Arc::new(Metrics::default());
        Self {
            hub: Hub::new(&bounds, 1, 7, metrics),
            now: Now {
                mono: Instant::now(),
                wall: Millis(1_800_000_000_000),
            },
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now.mono += Duration::from_millis(ms);
        self.now.wall = self.now.wall.plus(ms);
    }

    fn connect(&mut self) {
        let welcome = Welcome {
            region: "eu".parse().expect("a region"),
            hello_at: self.now.wall,
            heard_at: self.now.wall,
            gateway_now: self.now.wall,
            worker: 1,
            until: self.now.wall.plus(600_000),
        };
        self.hub.connected(self.now, GENERATION, &welcome);
    }

    fn subscribe(&mut self) {
        let (shard, stream) = (0, demo());
        let wish = ToBackhaul::Subscribe { shard, stream };
        self.hub.shard(self.now, wish);
    }

    fn publish(&mut self, request: u64) {
        let wish = ToBackhaul::Publish {
            shard: 0,
            request,
            event: vec![1],
        };
        self.hub.shard(self.now, wish);
    }

    /// The numbers of the posts that leave now.
    fn posts(&mut self) -> Vec<u64> {
        let bytes = std::mem::take(&mut self.hub.flush(self.now).posts);
        let mut rest = &bytes[..];
        let mut numbers = Vec::new();
        while let Some((frame, more)) = split_frame(rest).expect("whole") {
            match read_frame(frame).expect("ours") {
                Publish::Event { request, .. } | Publish::Reactions { request, .. } => {
                    numbers.push(request);
                }
            }
            rest = more;
        }
        numbers
    }

    /// Where the PoP says it is in the streams that it asks for now.
    fn asked(&mut self) -> Vec<Option<Position>> {
        let bytes = std::mem::take(&mut self.hub.flush(self.now).control);
        let mut rest = &bytes[..];
        let mut all = Vec::new();
        while let Some((frame, more)) = split_frame(rest).expect("whole") {
            if let ToGateway::Hold { have, .. } = read_frame(frame).expect("ours") {
                all.push(have);
            }
            rest = more;
        }
        all
    }

    fn hear(&mut self, said: FromGateway) {
        self.hub
            .said(self.now, GENERATION, said)
            .expect("no nonsense");
    }

    fn held(&mut self, held: Held) {
        let stream = demo();
        self.hear(FromGateway::Control(vec![ToPop::Held { stream, held }]));
    }

    /// Nothing but the range: what of the log lies in it was of other streams.
    fn deliver(&mut self, from: u64, to: u64) {
        let delivery = Delivery {
            region: eu(),
            epoch: 1,
            from,
            to,
            events: Vec::new(),
        };
        let data = rmp_serde::to_vec_named(&delivery).expect("writes");
        self.hear(FromGateway::Delivered(Some(demo()), vec![data.into()]));
    }

    fn answer(&mut self, request: u64, outcome: Outcome) {
        self.hear(FromGateway::Published(vec![Published { request, outcome }]));
    }

    /// What the shard is told of its publications now.
    fn outcomes(&mut self) -> Vec<(u64, Outcome)> {
        let out = self.hub.flush(self.now);
        let told = std::mem::take(&mut out.shards[0]).into_iter();
        told.filter_map(|message| {
            if let ToShard::Published(answers) = message {
                return Some(answers);
            }
            None
        })
        .flatten()
        .collect()
    }
}

fn eu() -> Region {
    "eu".parse().expect("a region")
}

fn demo() -> StreamId {
    "demo".parse().expect("a stream")
}

fn position(seq: u64) -> Position {
    Position([(eu(), Offset { epoch: 1, seq })].into())
}

fn state(seq: u64) -> Box<StreamState> {
    let info = StreamInfo {
        stream_id: demo(),
        title: String::new(),
        description: String::new(),
        broadcaster_id: "bob".parse().expect("a user"),
        status: StreamStatus::Live,
        created_at_ms: Millis(1),
        settings: Settings::default(),
        home_region: None,
    };
    Box::new(StreamState {
        info,
        life_seq: 1,
        at: position(seq),
        newest: Vec::new(),
        comment_count: 0,
        reactions: chorus_protocol::server::Reactions::new(),
        viewer_count: 0,
    })
}

/// The control lane and those of deliveries know no order among each other.
#[test]
fn what_deliveries_lose_to_an_answer_that_they_overtook_is_asked_for_again() {
    let subscribed = || {
        let mut bench = Bench::new();
        bench.connect();
        bench.subscribe();
        assert_eq!(bench.asked(), [None]);
        bench
    };
    // It waits for what the gap leaves out.
    let mut bench = subscribed();
    bench.held(Held::Fresh(state(1)));
    bench.deliver(3, 4);
    bench.held(Held::Gap(state(3)));
    assert_eq!(bench.asked(), [Some(position(3))]);
    // It was taken, and the gap stands before it.
    let mut bench = subscribed();
    bench.held(Held::Fresh(state(3)));
    bench.deliver(3, 4);
    bench.held(Held::Gap(state(3)));
    assert_eq!(bench.asked(), [Some(position(3))]);
    // It found no room beside what waits for the answer.
    let mut bench = subscribed();
    for from in 3..6 {
        bench.deliver(from, from + 1);
    }
    bench.held(Held::Fresh(state(3)));
    assert_eq!(bench.asked(), [Some(position(5))]);
    // Nothing was lost.
    let mut bench = subscribed();
    bench.deliver(3, 4);
    bench.held(Held::Fresh(state(3)));
    bench.held(Held::Gap(state(9)));
    assert_eq!(bench.asked(), []);
}

/// A comment in another region's log.
fn comment(seq: u64) -> Event {
    event(seq, kind::COMMENT, None)
}

fn event(seq: u64, kind: &str, target: Option<u64>) -> Event {
    let envelope = Envelope {
        id: CommentId(seq),
        kind,
        stream: "demo",
        author: "ann",
        role: AuthorRole::User,
        key: seq.into(),
        target: target.map(CommentId),
        record: b"",
    };
    Event {
        region: "us".parse().expect("a region"),
        epoch: 1,
        seq,
        body: envelope.write(0, |_| {}),
    }
}

/// The log of its comment is behind.
#[test]
fn a_removal_whose_comment_may_come_is_in_every_state() {
    let mut bench = Bench::new();
    bench.connect();
    let newest = |bench: &mut Bench| -> Vec<u64> {
        bench.subscribe();
        let told = std::mem::take(&mut bench.hub.flush(bench.now).shards[0]);
        let Some(ToShard::State {
            state: Some(state), ..
        }) = told.last()
        else {
            return Vec::new();
        };
        state.newest.iter().map(|event| event.seq).collect()
    };
    assert!(newest(&mut bench).is_empty());
    let mut first = state(1);
    first.newest = vec![event(7, kind::REMOVAL, Some(8))];
    first
        .at
        .0
        .insert(comment(1).region, Offset { epoch: 1, seq: 7 });
    bench.held(Held::Fresh(first));
    assert_eq!(newest(&mut bench), [7]);
    let delivery = Delivery {
        region: comment(1).region,
        epoch: 1,
        from: 7,
        to: 8,
        events: vec![comment(8)],
    };
    let data = rmp_serde::to_vec_named(&delivery).expect("writes");
    bench.hear(FromGateway::Delivered(Some(demo()), vec![data.into()]));
    assert!(newest(&mut bench).is_empty(), "neither is to be shown now");
}

#[test]
fn what_two_regions_logs_have_counts_once_and_is_shown_once() {
    let mut bench = Bench::new();
    bench.connect();
    bench.subscribe();
    let mut state = state(1);
    state.newest = vec![comment(2)];
    state.comment_count = 1;
    bench.held(Held::Fresh(state));
    let eu: chorus_protocol::Region = "eu".parse().expect("a region");
    let delivery = Delivery {
        region: eu.clone(),
        epoch: 1,
        from: 0,
        to: 2,
        events: (1..=2)
            .map(|seq| chorus_protocol::Event {
                region: eu.clone(),
                seq,
                ..comment(2)
            })
            .collect(),
    };
    let data = rmp_serde::to_vec_named(&delivery).expect("writes");
    bench.hear(FromGateway::Delivered(Some(demo()), vec![data.into()]));
    bench.hub.flush(bench.now).shards[0].clear();
    bench.subscribe();
    let told = &bench.hub.flush(bench.now).shards[0];
    let Some(ToShard::State {
        state: Some(state), ..
    }) = told.first()
    else {
        panic!("{told:?}")
    };
    assert_eq!((state.newest.len(), state.comment_count), (1, 1));
}

/// The store has its comments while it is away; when it is back its log is read from the beginning.
#[test]
fn what_a_state_brought_of_a_region_that_was_away_is_there_once() {
    let mut bench = Bench::new();
    bench.connect();
    bench.subscribe();
    let mut state = state(1);
    state.newest = vec![comment(2), comment(3)];
    state.comment_count = 3;
    bench.held(Held::Fresh(state));
    for seqs in [1..=2, 3..=4] {
        let delivery = Delivery {
            region: "us".parse().expect("a region"),
            epoch: 1,
            from: seqs.start() - 1,
            to: *seqs.end(),
            events: seqs.map(comment).collect(),
        };
        let data = rmp_serde::to_vec_named(&delivery).expect("writes");
        bench.hear(FromGateway::Delivered(Some(demo()), vec![data.into()]));
    }
    bench.hub.flush(bench.now).shards[0].clear();
    bench.subscribe();
    let told = &bench.hub.flush(bench.now).shards[0];
    let Some(ToShard::State {
        state: Some(state), ..
    }) = told.first()
    else {
        panic!("{told:?}")
    };
    let seqs: Vec<u64> = state.newest.iter().map(|event| event.seq).collect();
    assert_eq!((seqs, state.comment_count), (vec![2, 3, 4], 4));
    let replay = |from: u64| {
        let to = Offset { epoch: 1, seq: 4 };
        let from = Offset {
            epoch: 1,
            seq: from,
        };
        let [from, to] = [from, to].map(|at| Position([(comment(1).region, at)].into()));
        let range = ReplayRange {
            from,
            to,
            events_max: 10,
        };
        ToBackhaul::Replay {
            shard: 0,
            request: 1,
            stream: demo(),
            range,
        }
    };
    bench.hub.shard(bench.now, replay(3));
    assert!(bench.hub.flush(bench.now).asks.is_empty(), "it is here");
    bench.hub.shard(bench.now, replay(0));
    assert_eq!(bench.hub.flush(bench.now).asks.len(), 1, "not all is here");
}

#[test]
fn what_waits_for_a_gateway_does_not_keep_the_thread_awake() {
    let mut bench = Bench::new();
    bench.connect();
    bench.publish(1);
    let number = bench.posts()[0];
    bench.answer(number, Outcome::Unknown);
    let replay = ToBackhaul::Replay {
        shard: 0,
        request: 2,
        stream: demo(),
        range: ReplayRange::default(),
    };
    bench.hub.shard(bench.now, replay);
    let asked = bench.hub.flush(bench.now).asks[0].number;
    bench.hub.disconnected();
    let replayed = None;
    bench.hear(FromGateway::Asked {
        number: asked,
        replayed,
    });
    bench.wait(9_000);
    bench.hub.flush(bench.now);
    let due = bench.hub.next().expect("a replay's time is over once");
    assert!(due > bench.now.mono, "both are due, and nobody is there");
    bench.connect();
    assert_eq!(bench.posts(), [number]);
    assert_eq!(bench.hub.flush(bench.now).asks[0].number, asked);
}

#[test]
fn a_refused_repeat_says_nothing_of_the_tries_before() {
    let limited = || Outcome::refused(Reason::RateLimited, Some(100));
    let forbidden = || Outcome::refused(Reason::Forbidden, None);
    let mut bench = Bench::new();
    bench.connect();
    // The first try came to something: no other is there.
    for (request, outcome) in [(1, limited()), (2, forbidden())] {
        bench.publish(request);
        let number = bench.posts()[0];
        bench.answer(number, outcome.clone());
        assert_eq!(bench.outcomes(), [(request, outcome)]);
    }
    // The connection was lost: the first try may be under way still.
    let mut again = [3, 4].map(|request| {
        bench.publish(request);
        bench.posts()[0]
    });
    again.sort_unstable();
    bench.hub.disconnected();
    bench.connect();
    assert_eq!(bench.posts(), again);
    bench.answer(again[1], forbidden());
    assert_eq!(bench.outcomes(), [(4, Outcome::Unknown)]);
    bench.answer(again[0], limited());
    assert_eq!(bench.outcomes(), [], "a limit passes");
    bench.wait(3_000);
    assert_eq!(bench.posts(), again[..1]);
    let stored = Outcome::Stored {
        id: CommentId(9),
        duplicate: true,
    };
    bench.answer(again[0], stored.clone());
    assert_eq!(bench.outcomes(), [(3, stored)]);
}

#[test]
fn a_lease_counts_by_the_gateways_clock_however_wrong_this_one_is() {
    for wrong_ms in [10_000, -10_000_i64] {
        let mut bench = Bench::new();
        let theirs = crate::clock::back(bench.now.wall, wrong_ms);
        let welcome = Welcome {
            region: "eu".parse().expect("a region"),
            hello_at: bench.now.wall,
            heard_at: bench.now.wall,
            gateway_now: theirs,
            worker: 1,
            until: theirs.plus(60_000),
        };
        bench.hub.connected(bench.now, GENERATION, &welcome);
        let out = bench.hub.flush(bench.now);
        assert_eq!(std::mem::take(&mut out.clock_ahead_ms), wrong_ms);
        let told = out.shards[0].iter().find_map(|told| {
            if let ToShard::Lease { until, .. } = told {
                Some(*until)
            } else {
                None
            }
        });
        let margin_ms = BackhaulBounds::default().lease_margin_ms;
        assert_eq!(told, Some(Millis(theirs.0 + 60_000 - margin_ms)));
        // It is right from here on, and goes wrong again.
        bench.now.wall = theirs;
        bench.wait(30_000);
        assert!(!bench.hub.flush(bench.now).control.is_empty(), "it renews");
        let now_ms = Some(bench.now.wall.plus(2_000));
        let renewed = ToPop::Renewed {
            worker: 1,
            until_ms: bench.now.wall.plus(60_000),
            now_ms,
        };
        let said = FromGateway::Control(vec![renewed]);
        bench.hub.said(bench.now, GENERATION, said).expect("sane");
        assert_eq!(bench.hub.flush(bench.now).clock_ahead_ms, -2_000);
    }
}
