//! One follower per stream and gateway: it holds the subscriptions, applies the gap rule and hands what is ready to
//! every PoP that holds the stream, encoded once.

mod serve;

pub(super) use serve::encode;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::backhaul::Item;
use chorus_protocol::server::Reactions;
use chorus_protocol::{CommentId, Position, Region, StreamId};
use tokio::sync::{mpsc, oneshot};

use super::followers::Shared;
use super::gap::Tracker;
use super::totals::{PopProcess, Totals, Viewers};
use crate::history::HistoryError;
use crate::log::{LiveReactions, LiveRecords, LogError, PresenceReports};
use crate::store::Page;

/// Encoded deliveries waiting for one PoP; at the bound its lane catches up from the log instead.
const LANE_FRAMES_MAX: usize = 1_024;
/// What is asked of a follower and waits.
pub(super) const ASKS_MAX: usize = 1_024;
/// From one try to the next when the log or the store is away.
const RETRY: Duration = Duration::from_millis(250);

/// Why a follower ended; its lanes attach to the next one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("nobody holds the stream any more")]
    Idle,
    #[error("a region's log was made anew or appeared")]
    Regions,
    #[error("the connection to NATS is closed")]
    Closed,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// A lane's number in this gateway.
pub(super) type LaneId = u64;

/// What is asked of a follower.
pub(super) enum Ask {
    /// Hand deliveries to a lane from now on.
    Attach {
        lane: LaneId,
        connection: quinn::Connection,
        answer: oneshot::Sender<Attached>,
    },
    /// No longer.
    Detach { lane: LaneId },
    /// The log's last sequence of this stream.
    Last { region: Region, last: u64 },
    /// A PoP counts so many viewers.
    Viewing { pop: PopProcess, viewers: u64 },
    /// A PoP's connection is gone.
    Gone { pop: PopProcess },
    /// The connection to NATS was away: what was missed must be asked for.
    Reconnected,
}

/// How the stream stands where a lane's deliveries begin.
pub(super) struct Attached {
    pub(super) at: Position,
    pub(super) newest: Vec<Item>,
    pub(super) comment_count: u64,
    pub(super) reactions: Reactions,
    pub(super) viewer_count: u64,
    pub(super) frames: mpsc::Receiver<Frame>,
}

/// An encoded [`chorus_protocol::session::Delivery`], the same bytes for every lane.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) region: Region,
    pub(super) epoch: u64,
    pub(super) to: u64,
    pub(super) bytes: Bytes,
}

struct Lane {
    connection: quinn::Connection,
    frames: mpsc::Sender<Frame>,
}

struct Subscriptions {
    records: LiveRecords,
    reactions: LiveReactions,
    presence: PresenceReports,
}

/// What a follower knows.
struct Follower {
    stream: StreamId,
    shared: Arc<Shared>,
    trackers: BTreeMap<Region, Tracker>,
    newest: BTreeMap<CommentId, Item>,
    comment_count: u64,
    totals: Totals,
    viewers: Viewers,
    lanes: HashMap<LaneId, Lane>,
    /// Last sequences that were ahead of what was forwarded; looked at again when live messages had time to come.
    suspects: BTreeMap<Region, u64>,
    suspect_at_ms: Option<u64>,
    idle_since_ms: Option<u64>,
    /// The total of some reaction may have been missed.
    totals_stale: bool,
}

/// Runs a follower until it ends; asks that come before it is ready wait.
pub(super) async fn run(
    stream: StreamId,
    shared: Arc<Shared>,
    mut asks: mpsc::Receiver<Ask>,
) -> Ended {
    // Live messages wait in the subscriptions while history is read: subscribe first, then catch up.
    let subscriptions = loop {
        match subscribe(&stream, &shared).await {
            Ok(subscriptions) => break subscriptions,
            Err(error) => tracing::debug!(%stream, %error, "cannot follow yet"),
        }
        tokio::time::sleep(RETRY).await;
    };
    let follower = loop {
        match Follower::read(&stream, &shared).await {
            Ok(follower) => break follower,
            Err(error) => tracing::debug!(%stream, %error, "cannot read the history yet"),
        }
        tokio::time::sleep(RETRY).await;
    };
    follower.serve(subscriptions, &mut asks).await
}

async fn subscribe(stream: &StreamId, shared: &Shared) -> Result<Subscriptions, LogError> {
    let log = &shared.log;
    let subscriptions = Subscriptions {
        records: log.follow_comments(stream).await?,
        reactions: log.follow_reactions(stream).await?,
        presence: log.follow_presence(Some(stream)).await?,
    };
    log.settle().await?;
    Ok(subscriptions)
}

impl Follower {
    async fn read(stream: &StreamId, shared: &Arc<Shared>) -> Result<Self, Ended> {
        let page = Page {
            limit: shared.newest_max,
            ..Page::default()
        };
        let part = shared.history.read(stream, page).await?;
        let mut follower = Self {
            stream: stream.clone(),
            shared: Arc::clone(shared),
            trackers: part
                .at
                .0
                .iter()
                .map(|(region, at)| (region.clone(), Tracker::new(at.epoch, at.seq)))
                .collect(),
            newest: part.items.into_iter().collect(),
            comment_count: part.comment_count,
            totals: Totals::default(),
            viewers: Viewers::default(),
            lanes: HashMap::new(),
            suspects: BTreeMap::new(),
            suspect_at_ms: None,
            idle_since_ms: None,
            totals_stale: false,
        };
        follower.read_totals().await?;
        follower.totals.settle();
        Ok(follower)
    }

    async fn read_totals(&mut self) -> Result<(), LogError> {
        for region in self.shared.log.regions().into_keys() {
            let totals = self
                .shared
                .log
                .reaction_totals(&region, &self.stream)
                .await?;
            for (kind, total) in totals {
                self.totals.note(region.clone(), kind, total);
            }
        }
        Ok(())
    }

    fn position(&self) -> Position {
        let mut position = Position::default();
        for (region, tracker) in &self.trackers {
            let at = chorus_protocol::Offset {
                epoch: tracker.epoch,
                seq: tracker.forwarded(),
            };
            position.advance(region, at);
        }
        position
    }

    fn attach(
        &mut self,
        id: LaneId,
        connection: quinn::Connection,
        answer: oneshot::Sender<Attached>,
    ) {
        let (frames, receiver) = mpsc::channel(LANE_FRAMES_MAX);
        let attached = Attached {
            at: self.position(),
            newest: self.newest.values().cloned().collect(),
            comment_count: self.comment_count,
            reactions: self.totals.sums(),
            viewer_count: self.viewers.sum(),
            frames: receiver,
        };
        if answer.send(attached).is_ok() {
            self.lanes.insert(id, Lane { connection, frames });
        }
    }
}
