use chorus_protocol::CommentId;
use chorus_protocol::backhaul::{Published, read_frame, split_frame};
use chorus_protocol::codes::Reason;
use chorus_protocol::session::ReplayRange;

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
        let metrics = Arc::new(Metrics::default());
        Self {
            hub: Hub::new(&BackhaulBounds::default(), 1, 7, metrics),
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
            hello_at: self.now.wall,
            gateway_now: self.now.wall,
            worker: 1,
            until: self.now.wall.plus(600_000),
        };
        self.hub.connected(self.now, GENERATION, &welcome);
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

    fn answer(&mut self, request: u64, outcome: Outcome) {
        let said = FromGateway::Published(vec![Published { request, outcome }]);
        self.hub
            .said(self.now, GENERATION, said)
            .expect("no delivery");
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
        stream: "demo".parse().expect("a stream"),
        range: ReplayRange::default(),
    };
    bench.hub.shard(bench.now, replay);
    let asked = bench.hub.flush(bench.now).asks[0].number;
    bench.hub.disconnected();
    let replayed = None;
    let said = FromGateway::Asked {
        number: asked,
        replayed,
    };
    bench
        .hub
        .said(bench.now, GENERATION, said)
        .expect("no delivery");
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
