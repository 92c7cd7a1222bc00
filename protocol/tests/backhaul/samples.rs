//! A sample of everything that neighbours say to each other.

#[path = "samples/bodies.rs"]
mod bodies;

use chorus_protocol::backhaul::{
    Datagram, Held, Lane, Publish, Published, RefusedReactions, Request, Response, RestRequest,
    RestResponse, StreamState, ToGateway, ToPop, UserReactions, read_frame, write_bare,
};
use chorus_protocol::event::{AuthorRole, kind};
use chorus_protocol::presence::{Pop, PopState};
use chorus_protocol::server::Reactions;
use chorus_protocol::session::{Control, Delivery, ReplayRange, Replayed, SessionConfig};
use chorus_protocol::stream::{Life, Revision, Settings, StreamInfo, StreamStatus};
use chorus_protocol::tokens::TokenKey;
use chorus_protocol::{CommentId, Event, Millis, Offset, Outcome, Position, StreamId};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes as this build writes them, and whether others say the same.
pub(crate) struct Sample {
    /// A message's name begins with its type and variant.
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) reads: Reads,
}

type Reads = Box<dyn Fn(&[u8]) -> bool>;

fn sample<T>(name: &'static str, value: T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + 'static,
{
    Sample {
        name,
        bytes: write_bare(&value).expect("encodes"),
        reads: Box::new(move |bytes| read_frame::<T>(bytes).is_ok_and(|read| read == value)),
    }
}

pub(crate) fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    all.extend(lanes());
    all.extend(to_gateway());
    all.extend(to_pop());
    all.extend(posts());
    all.extend(requests());
    all.extend(session());
    all.extend(bodies::events());
    all
}

fn demo() -> StreamId {
    "demo".parse().expect("a stream")
}

fn at(seq: u64) -> Position {
    let mut position = Position::default();
    for (region, epoch) in [("eu", 1_700_000_000_000), ("us", 1_700_000_000_001)] {
        let offset = Offset { epoch, seq };
        position.advance(&region.parse().expect("a region"), offset);
    }
    position
}

fn likes() -> Reactions {
    Reactions::from([("heart".to_owned(), 300), ("like".to_owned(), 5)])
}

fn info() -> StreamInfo {
    StreamInfo {
        stream_id: demo(),
        title: "Démo".to_owned(),
        description: "All day".to_owned(),
        broadcaster_id: "caster".parse().expect("a user"),
        status: StreamStatus::Ended,
        created_at_ms: Millis(1_800_000_000_000),
        settings: Settings {
            slow_mode_s: 5,
            followers_only: true,
            subscribers_only: true,
            emote_only: true,
            unique_comments: true,
            comments_enabled: false,
            shield: true,
            hold_level: 2,
            blocked_words: vec!["spam".to_owned()],
            pre_moderation: true,
        },
    }
}

/// Where nothing is said that may be left out.
fn bare_state() -> StreamState {
    StreamState {
        info: StreamInfo {
            description: String::new(),
            settings: Settings::default(),
            home_region: None,
            status: StreamStatus::Live,
            ..info()
        },
        at: at(9),
        newest: Vec::new(),
        comment_count: 9,
        reactions: likes(),
        viewer_count: 70_000,
        life_seq: 0,
    }
}

fn state() -> Box<StreamState> {
    Box::new(StreamState {
        info: info(),
        newest: vec![event(8), event(9)],
        life_seq: 4,
        ..bare_state()
    })
}

fn life() -> Box<Life> {
    Box::new(Life {
        info: info(),
        seq: 4,
    })
}

fn event(seq: u64) -> Event {
    Event {
        region: "eu".parse().expect("a region"),
        epoch: 1_700_000_000_000,
        seq,
        body: bodies::body(kind::COMMENT, AuthorRole::User, None, b"\x80"),
    }
}

fn refused_reactions() -> Vec<RefusedReactions> {
    vec![RefusedReactions {
        user: "ann".parse().expect("a user"),
        count: 2,
        retry_after_ms: 9_000,
    }]
}

fn lanes() -> Vec<Sample> {
    vec![
        sample("Lane::Control", Lane::Control),
        sample("Lane::Posts", Lane::Posts),
        sample("Lane::Deliveries", Lane::Deliveries { stream: demo() }),
        sample("Lane::Request", Lane::Request),
        sample("Lane::Quiet", Lane::Quiet),
        sample(
            "Datagram::Totals",
            Datagram::Totals {
                stream: demo(),
                reactions: likes(),
                viewers: None,
            },
        ),
        sample(
            "Datagram::Totals and viewers",
            Datagram::Totals {
                stream: demo(),
                reactions: Reactions::new(),
                viewers: Some(12),
            },
        ),
        sample(
            "Datagram::Viewing",
            Datagram::Viewing {
                stream: demo(),
                count: 1_000,
            },
        ),
    ]
}

fn to_gateway() -> Vec<Sample> {
    vec![
        sample(
            "ToGateway::Hello",
            ToGateway::Hello {
                versions: [4, 5],
                pop: "pop-1".parse().expect("a PoP"),
                process: u64::MAX,
                region: None,
                url: None,
            },
        ),
        sample(
            "ToGateway::Hello reachable",
            ToGateway::Hello {
                versions: [4, 4],
                pop: "pop-1".parse().expect("a PoP"),
                process: 1,
                region: Some("eu".parse().expect("a region")),
                url: Some("https://pop-1.example".to_owned()),
            },
        ),
        sample(
            "ToGateway::Hold",
            ToGateway::Hold {
                stream: demo(),
                have: Some(at(7)),
                full: true,
                knows: Some(Revision {
                    created_at_ms: Millis(1_800_000_000_000),
                    seq: 3,
                }),
            },
        ),
        sample(
            "ToGateway::Hold new",
            ToGateway::Hold {
                stream: demo(),
                have: None,
                full: false,
                knows: None,
            },
        ),
        sample("ToGateway::Release", ToGateway::Release { stream: demo() }),
        sample("ToGateway::Renew", ToGateway::Renew),
        sample(
            "ToGateway::Load",
            ToGateway::Load {
                connections: 70_000,
                draining: true,
            },
        ),
    ]
}

fn to_pop() -> Vec<Sample> {
    let held = |held| ToPop::Held {
        stream: demo(),
        held,
    };
    vec![
        sample(
            "ToPop::Welcome",
            ToPop::Welcome {
                version: 4,
                region: "eu".parse().expect("a region"),
                now_ms: Millis(1_800_000_000_000),
                worker: 1_023,
                until_ms: Millis(1_800_000_060_000),
            },
        ),
        sample(
            "ToPop::Renewed",
            ToPop::Renewed {
                worker: 7,
                until_ms: Millis(1_800_000_060_000),
                now_ms: None,
            },
        ),
        sample(
            "ToPop::Renewed with the time",
            ToPop::Renewed {
                worker: 7,
                until_ms: Millis(1_800_000_060_000),
                now_ms: Some(Millis(1_800_000_000_000)),
            },
        ),
        sample("ToPop::Held unknown", held(Held::Unknown)),
        sample("ToPop::Held fresh", held(Held::Fresh(state()))),
        sample(
            "ToPop::Life",
            ToPop::Life {
                stream: demo(),
                life: life(),
            },
        ),
        sample(
            "ToPop::ReactionsRefused",
            ToPop::ReactionsRefused(refused_reactions()),
        ),
        sample("Held::Unknown", Held::Unknown),
        sample("Held::Fresh", Held::Fresh(state())),
        sample("Held::Resumed", Held::Resumed),
        sample("Held::Gap", Held::Gap(state())),
        sample("StreamState", bare_state()),
    ]
}

fn posts() -> Vec<Sample> {
    let stored = Outcome::Stored {
        id: CommentId(9_000_000_000),
        duplicate: true,
    };
    let refused = |retry_after_ms| Outcome::Refused {
        reason: "rate_limited".to_owned(),
        retry_after_ms,
    };
    let reactions = |users| Publish::Reactions {
        request: 5,
        stream: demo(),
        key: u128::MAX - 5,
        by: likes(),
        users,
    };
    vec![
        sample(
            "Publish::Event",
            Publish::Event {
                request: 70_000,
                event: event(1).body,
            },
        ),
        sample(
            "Publish::Reactions",
            reactions(vec![UserReactions {
                user: "ann".parse().expect("a user"),
                by: likes(),
            }]),
        ),
        sample("Publish::Reactions free", reactions(Vec::new())),
        sample(
            "Published",
            Published {
                request: 70_000,
                outcome: stored.clone(),
            },
        ),
        sample(
            "Published unknown",
            Published {
                request: 1,
                outcome: Outcome::Unknown,
            },
        ),
        sample("Outcome::Stored", stored),
        sample("Outcome::Refused", refused(Some(1_500))),
        sample("Outcome::Refused for good", refused(None)),
        sample("Outcome::Unknown", Outcome::Unknown),
    ]
}

fn requests() -> Vec<Sample> {
    let bare_call = RestRequest {
        method: "GET".to_owned(),
        target: "/api/streams/demo/comments?limit=2".to_owned(),
        authorization: None,
        body: Vec::new(),
        content_type: None,
    };
    let call = RestRequest {
        authorization: Some("Bearer x".to_owned()),
        body: b"{}".to_vec(),
        content_type: Some("application/json".to_owned()),
        ..bare_call.clone()
    };
    let bare_answer = RestResponse {
        status: 204,
        content_type: "application/json".to_owned(),
        body: b"{}".to_vec(),
        headers: Vec::new(),
    };
    let answer = RestResponse {
        headers: vec![("retry-after".to_owned(), "1".to_owned())],
        ..bare_answer.clone()
    };
    let replay = Request::Replay {
        stream: demo(),
        range: range(),
    };
    vec![
        sample("Request::Replay", replay),
        sample("Request::Rest", Request::Rest(call)),
        sample("Request::Rest bare", Request::Rest(bare_call)),
        sample("Response::Replay", Response::Replay(replayed())),
        sample("Response::Rest", Response::Rest(answer)),
        sample("Response::Rest bare", Response::Rest(bare_answer)),
        sample("Response::Unavailable", Response::Unavailable),
        sample("Request::Pops", Request::Pops),
        sample("Response::Pops", Response::Pops(vec![pop()])),
        sample(
            "Response::Pops bare",
            Response::Pops(vec![Pop {
                url: None,
                connections: 0,
                state: PopState::Serving,
                since_ms: Millis(0),
                ..pop()
            }]),
        ),
    ]
}

fn pop() -> Pop {
    Pop {
        pop: "eu-1".parse().expect("a PoP"),
        region: "eu".parse().expect("a region"),
        url: Some("https://eu-1.example".to_owned()),
        connections: 12,
        state: PopState::Draining,
        since_ms: Millis(1_800_000_000_000),
    }
}

fn range() -> ReplayRange {
    ReplayRange {
        from: at(3),
        to: at(9),
        events_max: 1_000,
    }
}

fn replayed() -> Replayed {
    Replayed {
        gap: false,
        events: vec![event(4), event(5)],
    }
}

fn session() -> Vec<Sample> {
    let lease = Control::Lease {
        worker: 7,
        until_ms: Millis(1_800_000_060_000),
    };
    let refused = Control::ReactionsRefused(refused_reactions());
    let delivery = Delivery {
        region: "eu".parse().expect("a region"),
        epoch: 1_700_000_000_000,
        from: 3,
        to: 6,
        events: vec![event(4), event(5)],
    };
    vec![
        sample("Control::Lease", lease),
        sample("Control::State", Control::State(Some(state()))),
        sample("Control::State none", Control::State(None)),
        sample("Control::Life", Control::Life(life())),
        sample("Control::Backhaul", Control::Backhaul { connected: true }),
        sample("Control::ReactionsRefused", refused),
        sample("Delivery", delivery),
        sample("Replayed", replayed()),
        sample(
            "Replayed gap",
            Replayed {
                gap: true,
                events: Vec::new(),
            },
        ),
        sample("ReplayRange", range()),
        config(),
    ]
}

/// JSON. What is not looked at may get another default.
fn config() -> Sample {
    let mut config = SessionConfig {
        shard: 3,
        keys: vec![TokenKey::EdDSA {
            kid: Some("k".to_owned()),
            public: "A".repeat(43),
        }],
        ..SessionConfig::default()
    };
    config.limits.newest_max = 17;
    config.batching.reactions_ms = 123;
    config.token_rules.audiences = vec!["chorus".to_owned()];
    Sample {
        name: "SessionConfig",
        bytes: serde_json::to_vec(&config).expect("encodes"),
        reads: Box::new(move |bytes| {
            let read: Result<SessionConfig, _> = serde_json::from_slice(bytes);
            read.is_ok_and(|read| {
                (read.shard, &read.keys) == (config.shard, &config.keys)
                    && read.limits.newest_max == config.limits.newest_max
                    && read.batching.reactions_ms == config.batching.reactions_ms
                    && read.token_rules.audiences == config.token_rules.audiences
            })
        }),
    }
}
