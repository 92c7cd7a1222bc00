//! A script with a thousand viewers: the same in every run, except for inputs that a test adds.

use std::collections::BTreeMap;

use chorus_edge::component::Input;
use chorus_protocol::backhaul::StreamState;
use chorus_protocol::event::{AuthorRole, Envelope, Event, kind};
use chorus_protocol::server::Reactions;
use chorus_protocol::session::Delivery;
use chorus_protocol::stream::{Settings, StreamInfo, StreamStatus};
use chorus_protocol::{CommentId, CommentRecord, Millis, Offset, Position, StreamId};
use serde_json::json;

use crate::shard::{START, Shard, Viewer, frame, opened};

pub(crate) const VIEWERS: u64 = 1_000;
/// Viewers that post one comment per round each; more than their limit allows.
pub(crate) const AUTHORS: std::ops::Range<u64> = 500..510;
pub(crate) const ROUNDS: u64 = 12;
const EPOCH: u64 = 1_700_000_000_000;
const ROUND_MS: u64 = 40;

pub(crate) fn demo() -> StreamId {
    "demo".parse().expect("a stream")
}

/// Runs the script; `put_in` may change a round's batch, or the shard before the batch.
pub(crate) fn run(
    shard: &mut Shard,
    mut put_in: impl FnMut(&mut Shard, u64, &mut Vec<Input>),
) -> BTreeMap<u64, Viewer> {
    shard.process();
    open(shard);
    for round in 0..ROUNDS {
        shard.pass(ROUND_MS);
        let mut batch = shard.stored();
        for author in AUTHORS {
            let post = json!({
                "stream_id": "demo", "client_id": format!("{author}-{round}"),
                "content": format!("{author} says {round}"),
            });
            batch.push(frame(author, "post_comment", &post));
        }
        put_in(shard, round, &mut batch);
        batch.push(shard.delivered(&demo(), &delivery(round * 3, round * 3 + 3)));
        batch.push(frame(round, "ping", &json!(round)));
        shard.feed(batch);
    }
    shard.pass(2_000);
    let late = VIEWERS + 1;
    shard.feed(vec![opened(late, None), join(late)]);
    shard.pass(2_000);
    shard.viewers.clone()
}

fn join(connection: u64) -> Input {
    frame(connection, "join_stream", &json!({"stream_id": "demo"}))
}

/// Opens a viewer with a token that joins the stream, and answers the subscription.
pub(crate) fn open_one(shard: &mut Shard, connection: u64) {
    let user = format!("author-{connection}");
    let token = chorus_session_scenarios::tokens::token(&user, "user", START + 3_600_000);
    shard.feed(vec![opened(connection, Some(token)), join(connection)]);
    shard.state(state());
}

pub(crate) fn open(shard: &mut Shard) {
    let viewers: Vec<u64> = (0..VIEWERS).collect();
    for some in viewers.chunks(100) {
        let mut batch = Vec::new();
        for &connection in some {
            let token = AUTHORS.contains(&connection).then(|| {
                let user = format!("author-{connection}");
                chorus_session_scenarios::tokens::token(&user, "user", START + 3_600_000)
            });
            batch.push(opened(connection, token));
            batch.push(join(connection));
        }
        shard.feed(batch);
        if some[0] == 0 {
            assert!(shard.follows(&demo()), "the first join follows the stream");
            shard.state(state());
        }
    }
}

fn state() -> StreamState {
    StreamState {
        info: StreamInfo {
            stream_id: demo(),
            title: "Demo".to_owned(),
            description: String::new(),
            broadcaster_id: "caster".parse().expect("a user"),
            status: StreamStatus::Live,
            created_at_ms: Millis(1),
            settings: Settings::default(),
            home_region: None,
        },
        life_seq: 1,
        at: at(0),
        newest: Vec::new(),
        comment_count: 0,
        reactions: Reactions::new(),
        viewer_count: VIEWERS,
    }
}

fn at(seq: u64) -> Position {
    let mut position = Position::default();
    let offset = Offset { epoch: EPOCH, seq };
    position.advance(&"eu".parse().expect("a region"), offset);
    position
}

pub(crate) fn delivery(from: u64, to: u64) -> Delivery {
    Delivery {
        region: "eu".parse().expect("a region"),
        epoch: EPOCH,
        from,
        to,
        events: (from + 1..=to).map(event).collect(),
    }
}

fn event(seq: u64) -> Event {
    let made = Millis(START + seq);
    let record = CommentRecord {
        username: "Elsewhere".to_owned(),
        content: format!("comment {seq}"),
        created_at_ms: made,
        parent_id: None,
        mentions: Vec::new(),
        media_ms: None,
        badges: Vec::new(),
    };
    let envelope = Envelope {
        id: CommentId::compose(made, 900, 0, 0),
        kind: kind::COMMENT,
        stream: "demo",
        author: "elsewhere",
        role: AuthorRole::User,
        key: u128::from(seq),
        target: None,
        record: b"",
    };
    Event {
        region: "eu".parse().expect("a region"),
        epoch: EPOCH,
        seq,
        body: envelope.write_record(&record),
    }
}
