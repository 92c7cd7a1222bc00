//! One follower per stream and gateway: it holds the subscriptions, applies the gap rule and hands what is ready to
//! every PoP that holds the stream, encoded once.

mod serve;

pub(super) use serve::encode;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::backhaul::Item;
use chorus_protocol::server::Reactions;
use chorus_protocol::{CommentId, Offset, Position, Region, StreamId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::followers::Shared;
use super::gap::Tracker;
use super::quiet::Quiet;
use super::totals::{PopProcess, Totals, Viewers};
use crate::history::{self, HistoryError};
use crate::log::{LiveReactions, LiveRecords, LogError, PresenceReports};
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
    pub(super) newest: Vec<Item>,
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
    records: LiveRecords,
    reactions: LiveReactions,
    presence: PresenceReports,
}

/// What a follower knows.
struct Follower {
    stream: StreamId,
    shared: Arc<Shared>,
    trackers: BTreeMap<Region, Tracker>,
    /// The newest in the order of the log, twice as many as are asked for: ids may be in another order.
    newest: VecDeque<Item>,
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
            // History is newest first.
            newest: part.items.into_iter().rev().map(|(_, item)| item).collect(),
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

    /// The newest by their ids, oldest first.
    fn newest(&self) -> Vec<Item> {
        let ids = self.newest.iter().filter_map(|item| {
            let (id, _) = history::glance(&item.record)?;
            Some((id, item))
        });
        let by_id: BTreeMap<CommentId, &Item> = ids.collect();
        let older = by_id.len().saturating_sub(self.shared.newest_max);
        by_id.into_values().skip(older).cloned().collect()
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
            newest: self.newest(),
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

/// How many comments a stream has.
#[derive(Debug, Default)]
struct Rate {
    second: u64,
    items: u64,
    busy: bool,
}

impl Rate {
    /// So many more; true when that made the stream busy.
    fn count(&mut self, items: usize, now_ms: u64) -> bool {
        let second = now_ms / 1_000;
        if second > self.second {
            self.busy = second == self.second + 1 && self.items >= QUIET_PER_S_MIN;
            self.second = second;
            self.items = 0;
        }
        self.items += items as u64;
        let gets_busy = !self.busy && self.items > BUSY_PER_S;
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
