//! One follower per stream and gateway: it holds the subscriptions, applies the gap rule and hands what is ready to
//! every PoP that holds the stream, encoded once.

mod newest;
mod serve;

pub(super) use serve::encode;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::gap::Tracker;
use chorus_protocol::server::Reactions;
use chorus_protocol::{Event, Offset, Position, Region, StreamId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use self::newest::Newest;
use super::followers::Shared;
use super::quiet::Quiet;
use super::totals::{PopProcess, Totals, Viewers};
use crate::history::HistoryError;
use crate::log::{LiveEvents, LiveReactions, LogError, PresenceReports};
use crate::store::Page;

/// Encoded deliveries waiting for one PoP; at the bound its lane catches up from the log instead.
const LANE_FRAMES_MAX: usize = 1_024;
/// The length before every message of a lane.
const LENGTH_BYTES: usize = 4;
/// Comments within a second beyond which a stream leaves the quiet lane.
const BUSY_PER_S: u64 = 100;
/// Comments of a second with which a busy stream stays busy.
const QUIET_PER_S_MIN: u64 = 25;
/// What is asked of a follower and waits.
pub(super) const ASKS_MAX: usize = 1_024;
/// From one try to the next when the log or the store is away.
const RETRY: Duration = Duration::from_millis(250);

/// Live messages of one region kept while a hole is read from its log; beyond it the highest is dropped and read later.
const WAITING_MAX: usize = 5_000;

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
    /// Hand deliveries to a lane from now on: the quiet one, where it is given and the stream is quiet.
    Attach {
        lane: LaneId,
        connection: quinn::Connection,
        quiet: Option<Quiet>,
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
    /// Comments, oldest first, and the decisions that stand about them.
    pub(super) newest: Vec<Event>,
    pub(super) comment_count: u64,
    pub(super) reactions: Reactions,
    pub(super) viewer_count: u64,
    pub(super) way: Way,
}

/// How the deliveries come.
pub(super) enum Way {
    /// For a lane of its own, until the channel ends: the lane was too slow, or the follower ended.
    Own(mpsc::Receiver<Frame>),
    /// Over the quiet lane, until this says up to where they went: there was no room, the stream got busy, or the
    /// follower ended.
    Quiet(oneshot::Receiver<Position>),
}

/// An encoded [`chorus_protocol::session::Delivery`], the same bytes for every lane.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) region: Region,
    pub(super) epoch: u64,
    pub(super) to: u64,
    pub(super) bytes: Bytes,
}

impl Frame {
    /// The delivery without the length before it.
    pub(super) fn delivery(&self) -> &[u8] {
        self.bytes.get(LENGTH_BYTES..).unwrap_or_default()
    }

    /// Where it ends.
    pub(super) fn offset(&self) -> Offset {
        Offset {
            epoch: self.epoch,
            seq: self.to,
        }
    }
}

/// What may be forwarded: everything in `(from, to]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) events: Vec<Event>,
}

/// How far one region's log is read and forwarded.
struct Reading {
    tracker: Tracker<Event>,
    forwarded: u64,
}

impl Reading {
    fn new(at: Offset) -> Self {
        Self {
            tracker: Tracker::new(at.epoch, at.seq, WAITING_MAX),
            forwarded: at.seq,
        }
    }

    fn forwarded(&self) -> Offset {
        Offset {
            epoch: self.tracker.epoch(),
            seq: self.forwarded,
        }
    }

    /// What may be forwarded now.
    fn take(&mut self) -> Option<Ready> {
        let to = self.tracker.at();
        if self.forwarded == to {
            return None;
        }
        let from = std::mem::replace(&mut self.forwarded, to);
        let events = self.tracker.drain().map(|step| step.payload).collect();
        Some(Ready { from, to, events })
    }
}

struct Lane {
    connection: quinn::Connection,
    out: Out,
}

enum Out {
    Own(mpsc::Sender<Frame>),
    Quiet(OnQuiet),
}

/// A stream on a PoP's quiet lane. However it leaves it, its hold learns up to where it got.
struct OnQuiet {
    quiet: Quiet,
    at: Position,
    left: Option<oneshot::Sender<Position>>,
}

impl Drop for OnQuiet {
    fn drop(&mut self) {
        if let Some(left) = self.left.take() {
            // Nobody waits when the hold was the one to leave.
            let _ = left.send(std::mem::take(&mut self.at));
        }
    }
}

impl Lane {
    /// Hands a delivery over.
    fn put(&mut self, stream: &StreamId, frame: &Frame) -> Result<(), TrySendError<()>> {
        match &mut self.out {
            Out::Own(frames) => frames.try_send(frame.clone()).map_err(without),
            Out::Quiet(on) => {
                on.quiet
                    .try_send((stream.clone(), frame.clone()))
                    .map_err(without)?;
                on.at.advance(&frame.region, frame.offset());
                Ok(())
            }
        }
    }

    fn is_closed(&self) -> bool {
        match &self.out {
            Out::Own(frames) => frames.is_closed(),
            Out::Quiet(on) => on.left.as_ref().is_none_or(oneshot::Sender::is_closed),
        }
    }
}

fn without<T>(error: TrySendError<T>) -> TrySendError<()> {
    match error {
        TrySendError::Full(_) => TrySendError::Full(()),
        TrySendError::Closed(_) => TrySendError::Closed(()),
    }
}

struct Subscriptions {
    events: LiveEvents,
    reactions: LiveReactions,
    presence: PresenceReports,
}

/// What a follower knows.
struct Follower {
    stream: StreamId,
    shared: Arc<Shared>,
    trackers: BTreeMap<Region, Reading>,
    newest: Newest,
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
    rate: Rate,
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
        events: log.follow_events(stream).await?,
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
                .map(|(region, at)| (region.clone(), Reading::new(*at)))
                .collect(),
            newest: Newest::new(shared.newest_max, part.comments, part.decisions),
            comment_count: part.comment_count,
            totals: Totals::default(),
            viewers: Viewers::default(),
            lanes: HashMap::new(),
            suspects: BTreeMap::new(),
            suspect_at_ms: None,
            idle_since_ms: None,
            totals_stale: false,
            rate: Rate::default(),
        };
        follower.read_totals().await?;
        follower.totals.settle();
        Ok(follower)
    }

    async fn read_totals(&mut self) -> Result<(), LogError> {
        let all = self.shared.log.all_reaction_totals(&self.stream).await?;
        for (region, totals) in all {
            for (kind, total) in totals {
                self.totals.note(region.clone(), kind, total);
            }
        }
        Ok(())
    }

    fn position(&self) -> Position {
        let mut position = Position::default();
        for (region, reading) in &self.trackers {
            position.advance(region, reading.forwarded());
        }
        position
    }

    fn attach(
        &mut self,
        id: LaneId,
        connection: quinn::Connection,
        quiet: Option<Quiet>,
        answer: oneshot::Sender<Attached>,
    ) {
        let at = self.position();
        let (out, way) = match quiet.filter(|_| !self.rate.is_busy()) {
            Some(quiet) => {
                let (left, leaves) = oneshot::channel();
                let on = OnQuiet {
                    quiet,
                    at: at.clone(),
                    left: Some(left),
                };
                (Out::Quiet(on), Way::Quiet(leaves))
            }
            None => {
                let (frames, receiver) = mpsc::channel(LANE_FRAMES_MAX);
                (Out::Own(frames), Way::Own(receiver))
            }
        };
        let attached = Attached {
            at,
            newest: self.newest.events(),
            comment_count: self.comment_count,
            reactions: self.totals.sums(),
            viewer_count: self.viewers.sum(),
            way,
        };
        if answer.send(attached).is_ok() {
            self.lanes.insert(id, Lane { connection, out });
        }
    }
}

/// How many events a stream has.
#[derive(Debug, Default)]
struct Rate {
    second: u64,
    events: u64,
    busy: bool,
}

impl Rate {
    /// So many more; true when that made the stream busy.
    fn count(&mut self, events: usize, now_ms: u64) -> bool {
        let second = now_ms / 1_000;
        if second > self.second {
            self.busy = second == self.second + 1 && self.events >= QUIET_PER_S_MIN;
            self.second = second;
            self.events = 0;
        }
        self.events += events as u64;
        let gets_busy = !self.busy && self.events > BUSY_PER_S;
        self.busy |= gets_busy;
        gets_busy
    }

    fn is_busy(&self) -> bool {
        self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_gets_busy_at_once_and_quiet_after_a_quiet_second() {
        let mut rate = Rate::default();
        assert!(!rate.count(60, 100));
        assert!(rate.count(60, 900), "more than a hundred within a second");
        assert!(!rate.count(60, 950), "said once");
        assert!(!rate.count(30, 1_500));
        assert!(rate.is_busy());
        assert!(!rate.count(1, 2_500));
        assert!(rate.is_busy(), "the second before had thirty");
        assert!(!rate.count(1, 3_500));
        assert!(!rate.is_busy());
    }
}
