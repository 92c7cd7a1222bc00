//! What the backhaul's hub costs: `hub_bench [STREAMS] [ROUNDS]` prints nanoseconds a delivery of one comment for each
//! round. Deliveries of as many streams come over the quiet lane and are handed to one shard; 64 of them make a turn.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use chorus_edge::backhaul::hub::{FromGateway, Hub, Now, Welcome};
use chorus_edge::backhaul::{BackhaulBounds, Metrics};
use chorus_edge::link::ToBackhaul;
use chorus_protocol::backhaul::{Held, StreamState, ToPop, write_quiet};
use chorus_protocol::event::{AuthorRole, kind};
use chorus_protocol::server::Reactions;
use chorus_protocol::session::Delivery;
use chorus_protocol::stream::{Settings, StreamInfo, StreamStatus};
use chorus_protocol::{CommentId, Envelope, Event, Millis, Offset, Position, Region, StreamId};

/// As in the PoP.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TURN: usize = 64;
const DELIVERIES: u64 = 60;
const EPOCH: u64 = 1_800_000_000_000;

fn now() -> Now {
    Now {
        mono: Instant::now(),
        wall: Millis(EPOCH),
    }
}

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let streams: u64 = args.next().unwrap_or(1_000);
    let rounds: u64 = args.next().unwrap_or(7);
    let region: Region = "dev".parse().expect("a region");
    let names: Vec<StreamId> = (0..streams)
        .map(|i| format!("stream-{i}").parse().expect("a stream"))
        .collect();
    let metrics = Arc::new(Metrics::default());
    let mut hub = Hub::new(&BackhaulBounds::default(), 1, 7, metrics);
    let welcome = Welcome {
        region: "eu".parse().expect("a region"),
        hello_at: Millis(EPOCH),
        heard_at: Millis(EPOCH),
        gateway_now: Millis(EPOCH),
        worker: 1,
        until: Millis(EPOCH + 60_000),
    };
    hub.connected(now(), 1, &welcome);
    for stream in &names {
        let stream = stream.clone();
        hub.shard(now(), ToBackhaul::Subscribe { shard: 0, stream });
    }
    for stream in &names {
        let held = Held::Fresh(Box::new(state(stream, &region)));
        let stream = stream.clone();
        let held = FromGateway::Control(vec![ToPop::Held { stream, held }]);
        hub.said(now(), 1, held).expect("no delivery");
    }
    clear(&mut hub);
    let mut seq = 0;
    for _ in 0..rounds {
        let mut lane = Vec::new();
        for _ in 0..DELIVERIES {
            for (index, stream) in names.iter().enumerate() {
                lane.push(message(stream, &region, streams, seq + index as u64 + 1));
            }
            seq += streams;
        }
        let count = lane.len() as u128;
        let mut lane = lane.into_iter();
        let began = Instant::now();
        while lane.len() > 0 {
            let turn = lane.by_ref().take(TURN).collect();
            hub.said(now(), 1, FromGateway::Delivered(None, turn))
                .expect("deliveries");
            clear(&mut hub);
        }
        println!("{} ns a delivery", began.elapsed().as_nanos() / count);
    }
}

fn clear(hub: &mut Hub) {
    let out = hub.flush(now());
    out.shards.iter_mut().for_each(Vec::clear);
    out.control.clear();
}

fn state(stream: &StreamId, region: &Region) -> StreamState {
    let mut at = Position::default();
    let offset = Offset {
        epoch: EPOCH,
        seq: 0,
    };
    at.advance(region, offset);
    StreamState {
        info: StreamInfo {
            stream_id: stream.clone(),
            title: "a stream".to_owned(),
            description: String::new(),
            broadcaster_id: "bob".parse().expect("a user"),
            status: StreamStatus::Live,
            created_at_ms: Millis(EPOCH),
            settings: Settings::default(),
            home_region: None,
        },
        at,
        newest: Vec::new(),
        comment_count: 0,
        reactions: Reactions::new(),
        viewer_count: 0,
        life_seq: 1,
    }
}

/// Other subjects share the log, so that a stream's sequences are apart.
fn message(stream: &StreamId, region: &Region, apart: u64, to: u64) -> Bytes {
    let envelope = Envelope {
        id: CommentId(EPOCH * 4_096 + to),
        kind: kind::COMMENT,
        stream: stream.as_str(),
        author: "user-12345",
        role: AuthorRole::User,
        key: to.into(),
        target: None,
        record: b"",
    };
    let event = Event {
        region: region.clone(),
        epoch: EPOCH,
        seq: to,
        body: envelope.write(120, |out| out.resize(out.len() + 120, b'x')),
    };
    let delivery = Delivery {
        region: region.clone(),
        epoch: EPOCH,
        from: to.saturating_sub(apart),
        to,
        events: vec![event],
    };
    let mut bytes = Vec::new();
    let delivery = rmp_serde::to_vec_named(&delivery).expect("writes");
    write_quiet(stream, &delivery, &mut bytes).expect("fits");
    Bytes::from(bytes).slice(4..)
}
