//! A backhaul with shards that only listen, and the events they are to hear of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use chorus_edge::backhaul::{BackhaulBounds, BackhaulConfig, Handle, Metrics, ShardSender, start};
use chorus_edge::link::{ShardId, ToBackhaul, ToShard};
use chorus_edge::pop::PopState;
use chorus_protocol::backhaul::StreamState;
use chorus_protocol::codes::RemovalReason;
use chorus_protocol::event::{AuthorRole, Envelope, Event, RemovalRecord, kind};
use chorus_protocol::server::Reactions;
use chorus_protocol::session::Delivery;
use chorus_protocol::stream::{Settings, StreamInfo, StreamStatus};
use chorus_protocol::{CommentId, CommentRecord, Millis, Offset, Outcome, Position, StreamId};
use chorus_quic::Pace;
use tokio::sync::mpsc;

use crate::gateway::{Gateway, PATIENCE};
use crate::keys::{Authority, Identity, SERVER_NAME};

pub(crate) const EPOCH: u64 = 1_700_000_000_000;

struct Ear {
    sender: mpsc::UnboundedSender<ToShard>,
    /// Panics over the next delivery.
    panics: Arc<AtomicBool>,
}

impl ShardSender for Ear {
    fn send(&self, message: ToShard) {
        if matches!(message, ToShard::Delivered { .. }) && self.panics.swap(false, Relaxed) {
            panic!("as the test wants it");
        }
        let _ = self.sender.send(message);
    }
}

pub(crate) struct Shard {
    heard: mpsc::UnboundedReceiver<ToShard>,
    aside: Vec<ToShard>,
}

impl Shard {
    /// The next message that `pick` takes; others are kept for later.
    pub(crate) async fn next<T>(
        &mut self,
        mut pick: impl FnMut(ToShard) -> Result<T, ToShard>,
    ) -> T {
        for at in 0..self.aside.len() {
            match pick(self.aside.remove(at)) {
                Ok(found) => return found,
                Err(other) => self.aside.insert(at, other),
            }
        }
        loop {
            let heard = tokio::time::timeout(PATIENCE, self.heard.recv())
                .await
                .unwrap_or_else(|_| panic!("nothing more within time; put aside: {:?}", self.aside))
                .expect("the backhaul runs");
            match pick(heard) {
                Ok(found) => return found,
                Err(other) => self.aside.push(other),
            }
        }
    }

    pub(crate) async fn state(&mut self) -> Option<Arc<StreamState>> {
        self.next(|message| match message {
            ToShard::State { state, .. } => Ok(state),
            other => Err(other),
        })
        .await
    }

    pub(crate) async fn delivered(&mut self) -> (Delivery, Bytes) {
        self.next(|message| match message {
            ToShard::Delivered { data, .. } => {
                Ok((rmp_serde::from_slice(&data).expect("a delivery"), data))
            }
            other => Err(other),
        })
        .await
    }

    pub(crate) async fn published(&mut self) -> Vec<(u64, Outcome)> {
        self.next(|message| match message {
            ToShard::Published(answers) => Ok(answers),
            other => Err(other),
        })
        .await
    }

    pub(crate) async fn connected(&mut self, wanted: bool) {
        self.next(|message| match message {
            ToShard::Connected(connected) if connected == wanted => Ok(()),
            other => Err(other),
        })
        .await;
    }

    pub(crate) fn heard_no(&mut self, unwanted: impl Fn(&ToShard) -> bool) -> bool {
        while let Ok(message) = self.heard.try_recv() {
            self.aside.push(message);
        }
        !self.aside.iter().any(unwanted)
    }
}

pub(crate) struct Pop {
    pub(crate) ask: mpsc::Sender<ToBackhaul>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) handle: Handle,
    /// Makes the backhaul panic over the next delivery.
    pub(crate) panics: Arc<AtomicBool>,
}

impl Pop {
    pub(crate) fn start(
        authority: &Authority,
        gateways: &[&Gateway],
        bounds: BackhaulBounds,
    ) -> Self {
        let gateways = gateways.iter().map(|it| it.address.to_string()).collect();
        Self::with(authority, &authority.identity("pop"), gateways, bounds)
    }

    pub(crate) fn with(
        authority: &Authority,
        identity: &Identity,
        gateways: Vec<String>,
        bounds: BackhaulBounds,
    ) -> Self {
        let config = BackhaulConfig {
            gateways,
            server_name: SERVER_NAME.to_owned(),
            ca: authority.ca(),
            cert: identity.cert.clone(),
            key: identity.key.clone(),
            pop: "test-pop".parse().expect("an id"),
            region: None,
            public_url: Some("https://pop.example".to_owned()),
            bounds,
        };
        let metrics = Arc::new(Metrics::default());
        let (ask, asked) = mpsc::channel(1_024);
        let panics = Arc::new(AtomicBool::new(false));
        let (senders, shards): (Vec<Arc<dyn ShardSender>>, Vec<Shard>) = (0..2)
            .map(|_| {
                let (sender, heard) = mpsc::unbounded_channel();
                let shard = Shard {
                    heard,
                    aside: Vec::new(),
                };
                let panics = Arc::clone(&panics);
                let ear = Ear { sender, panics };
                (Arc::new(ear) as Arc<dyn ShardSender>, shard)
            })
            .unzip();
        let pace = Pace::new(Duration::ZERO);
        let state = Arc::new(PopState::new(10));
        let handle = start(
            config,
            senders,
            asked,
            Arc::clone(&metrics),
            pace,
            Arc::clone(&state),
        )
        .expect("starts");
        Self {
            ask,
            shards,
            metrics,
            handle,
            panics,
        }
    }

    pub(crate) async fn subscribe(&self, shard: ShardId, stream: &StreamId) {
        let stream = stream.clone();
        self.say(ToBackhaul::Subscribe { shard, stream }).await;
    }

    pub(crate) async fn post(&self, shard: ShardId, request: u64, key: u128) {
        self.say(ToBackhaul::Publish {
            shard,
            request,
            event: comment(request, key),
        })
        .await;
    }

    pub(crate) async fn say(&self, message: ToBackhaul) {
        self.ask.send(message).await.expect("the backhaul runs");
    }
}

pub(crate) fn bounds() -> BackhaulBounds {
    BackhaulBounds {
        // A loaded machine may hold a test up for long; where death is to be seen it is set anew.
        idle_ms_max: 20_000,
        connect_ms_max: 10_000,
        reconnect_ms_max: 100,
        ..BackhaulBounds::default()
    }
}

pub(crate) fn demo() -> StreamId {
    "demo".parse().expect("a stream")
}

pub(crate) fn id(seq: u64) -> CommentId {
    CommentId::compose(Millis(1_800_000_000_000 + seq), 1, 0, 0)
}

/// What an event of `demo` says but for its record.
pub(crate) fn envelope(seq: u64, kind: &str, target: Option<CommentId>) -> Envelope<'_> {
    Envelope {
        id: id(seq),
        kind,
        stream: "demo",
        author: "u",
        role: AuthorRole::User,
        key: u128::from(seq),
        target,
        record: b"",
    }
}

/// A comment's body.
pub(crate) fn comment(seq: u64, key: u128) -> Vec<u8> {
    let record = CommentRecord {
        username: "U".to_owned(),
        content: format!("comment {seq}"),
        created_at_ms: Millis(1_800_000_000_000 + seq),
        parent_id: None,
        mentions: Vec::new(),
        media_ms: None,
        badges: Vec::new(),
    };
    let envelope = envelope(seq, kind::COMMENT, None);
    Envelope { key, ..envelope }.write_record(&record)
}

/// The removal of the comment at `target`, at `seq` of the log.
pub(crate) fn removal(seq: u64, target: u64) -> Event {
    let record = RemovalRecord::new(RemovalReason::Moderator);
    let envelope = envelope(seq, kind::REMOVAL, Some(id(target)));
    in_log(seq, envelope.write_record(&record))
}

/// An event of a kind that this build does not know.
pub(crate) fn of_tomorrow(seq: u64, target: Option<u64>) -> Event {
    let envelope = envelope(seq, "applause", target.map(id));
    in_log(seq, envelope.write_record(&[1, 2, 3]))
}

pub(crate) fn in_log(seq: u64, body: Vec<u8>) -> Event {
    Event {
        region: "eu".parse().expect("a region"),
        epoch: EPOCH,
        seq,
        body,
    }
}

pub(crate) fn event(seq: u64) -> Event {
    in_log(seq, comment(seq, u128::from(seq)))
}

pub(crate) fn at(seq: u64) -> Position {
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

/// One event, right after the one before it.
pub(crate) fn alone(event: Event) -> Delivery {
    Delivery {
        events: vec![event.clone()],
        ..delivery(event.seq - 1, event.seq)
    }
}

pub(crate) fn state(seq: u64, newest: std::ops::RangeInclusive<u64>) -> Box<StreamState> {
    Box::new(StreamState {
        info: StreamInfo {
            stream_id: demo(),
            title: "Demo".to_owned(),
            description: String::new(),
            broadcaster_id: "b".parse().expect("a user"),
            status: StreamStatus::Live,
            created_at_ms: Millis(1),
            settings: Settings::default(),
            home_region: None,
        },
        life_seq: 1,
        at: at(seq),
        newest: newest.map(event).collect(),
        comment_count: seq,
        reactions: Reactions::new(),
        viewer_count: 0,
    })
}
