//! A stream held for a PoP: the answer, then a delivery lane that never skips.
//!
//! A PoP that reads too slowly fills its queue; its lane then writes what it has and catches up from the log, from the
//! last position written. Only what is too much to catch up with is a gap, and then the PoP is told.

use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::backhaul::{Held, Lane, StreamState, ToPop};
use chorus_protocol::stream::{Life, Revision};
use chorus_protocol::{Position, Region, StreamId};
use quinn::{SendStream, VarInt};
use tokio::sync::{mpsc, watch};

use super::catch_up::{Missed, missed};
use super::directory::Found;
use super::follower::{Ask, Attached, Frame, LaneId, Ready, Way, encode};
use super::lane::{self, LaneError};
use super::pop::Pop;
use super::quiet::Quiet;
use crate::metrics::Metrics;

/// From one try to the next while the log is away.
const RETRY: Duration = Duration::from_millis(200);
/// The error code of a lane that is replaced by another one.
const REPLACED: VarInt = VarInt::from_u32(1);

/// One held stream.
pub(super) struct Hold {
    pop: Arc<Pop>,
    stream: StreamId,
    lane: LaneId,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Released, or the connection is gone: the follower need not find out by itself.
        self.pop
            .shared
            .followers
            .ask(&self.stream, Ask::Detach { lane: self.lane });
    }
}

/// Holds a stream until the PoP is gone or the lane fails; dropped to release it.
pub(super) async fn hold(
    pop: Arc<Pop>,
    stream: StreamId,
    have: Option<Position>,
    knows: Option<Revision>,
) {
    let lane = pop.shared.followers.lane();
    let hold = Hold { pop, stream, lane };
    if let Err(error) = hold.run(have, knows).await {
        tracing::debug!(stream = %hold.stream, pop = %hold.pop.id.0, %error, "a delivery lane ended");
    }
}

impl Hold {
    async fn run(&self, have: Option<Position>, knows: Option<Revision>) -> Result<(), LaneError> {
        // From before it is looked up, so that no change falls in between.
        let lives = self.pop.shared.directory.watch(&self.stream);
        let Some(life) = self.life().await else {
            return self.answer(Held::Unknown).await;
        };
        let attached = self.attach(Some(&self.pop.quiet)).await;
        let mut told = life.revision();
        let (cursor, missed) = match have {
            None => {
                let at = attached.at.clone();
                let state = self.state(&life, &attached);
                self.answer(Held::Fresh(Box::new(state))).await?;
                (at, Vec::new())
            }
            Some(have) => match self.missed(&have, &attached.at).await {
                Missed::All(ranges) => {
                    self.answer(Held::Resumed).await?;
                    told = knows.unwrap_or_default();
                    (have, ranges)
                }
                Missed::Gap => (self.tell_gap(&life, &attached).await?, Vec::new()),
            },
        };
        tokio::select! {
            ended = self.deliver(life, cursor, missed, attached.way) => ended,
            ended = self.tell_lives(lives, told) => ended,
        }
    }

    /// Tells the PoP each time the stream itself changes; `told` is what it knows.
    async fn tell_lives(
        &self,
        mut lives: watch::Receiver<Found>,
        mut told: Revision,
    ) -> Result<(), LaneError> {
        loop {
            let now = lives.borrow_and_update().clone();
            if let Some(life) = now.filter(|life| life.revision() > told) {
                told = life.revision();
                let (stream, life) = (self.stream.clone(), Box::new((*life).clone()));
                self.pop.tell(&ToPop::Life { stream, life }).await?;
            }
            lives.changed().await.map_err(LaneError::gone)?;
        }
    }

    /// Sees to it that everything after `cursor` gets there: what was `missed`, then what the follower hands out. The
    /// stream begins on the quiet lane; when it leaves that, it goes on over a lane of its own.
    async fn deliver(
        &self,
        life: Arc<Life>,
        mut cursor: Position,
        mut missed: Vec<Range>,
        mut way: Way,
    ) -> Result<(), LaneError> {
        let mut own = None;
        loop {
            match way {
                Way::Quiet(left) => {
                    for frame in frames(missed) {
                        let stream = self.stream.clone();
                        let put = self.pop.quiet.send((stream, frame)).await;
                        put.map_err(|_| LaneError::gone("no quiet lane"))?;
                    }
                    cursor = left.await.map_err(LaneError::gone)?;
                }
                Way::Own(frames) => {
                    let lane = match &mut own {
                        Some(lane) => lane,
                        None => own.insert(OwnLane::open(self).await?),
                    };
                    lane.deliver(missed, frames, &mut cursor).await?;
                }
            }
            let attached = self.attach(None).await;
            missed = match self.missed(&cursor, &attached.at).await {
                Missed::All(ranges) => ranges,
                Missed::Gap => {
                    if let Some(mut lane) = own.take() {
                        let _ = lane.stream.reset(REPLACED);
                    }
                    cursor = self.restart(&life, &attached).await?;
                    Vec::new()
                }
            };
            way = attached.way;
        }
    }

    async fn restart(&self, life: &Arc<Life>, attached: &Attached) -> Result<Position, LaneError> {
        // The stream may have changed since it was held first.
        let found = self.pop.shared.directory.find(&self.stream).await;
        let life = found.ok().flatten().unwrap_or_else(|| Arc::clone(life));
        self.tell_gap(&life, attached).await
    }

    async fn tell_gap(&self, life: &Life, attached: &Attached) -> Result<Position, LaneError> {
        let state = self.state(life, attached);
        let at = state.at.clone();
        self.answer(Held::Gap(Box::new(state))).await?;
        Ok(at)
    }

    /// The stream, or `None` when there is none; waits while the log is away.
    async fn life(&self) -> Found {
        loop {
            match self.pop.shared.directory.find(&self.stream).await {
                Ok(found) => return found,
                Err(error) => {
                    tracing::debug!(stream = %self.stream, %error, "cannot look it up yet")
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn attach(&self, quiet: Option<&Quiet>) -> Attached {
        let pop = &self.pop;
        let followers = &pop.shared.followers;
        followers
            .attach(&self.stream, self.lane, &pop.connection, quiet)
            .await
    }

    /// Reads what was missed; waits while the log is away.
    async fn missed(&self, from: &Position, to: &Position) -> Missed {
        let shared = &self.pop.shared;
        loop {
            let read = missed(&*shared.log, &self.stream, from, to, shared.resume_max).await;
            match read {
                Ok(missed) => return missed,
                Err(error) => tracing::debug!(stream = %self.stream, %error, "cannot catch up yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn state(&self, life: &Life, attached: &Attached) -> StreamState {
        StreamState {
            info: life.info.clone(),
            life_seq: life.seq,
            at: attached.at.clone(),
            newest: attached.newest.clone(),
            comment_count: attached.comment_count,
            reactions: attached.reactions.clone(),
            viewer_count: attached.viewer_count,
        }
    }

    async fn answer(&self, held: Held) -> Result<(), LaneError> {
        let stream = self.stream.clone();
        self.pop.tell(&ToPop::Held { stream, held }).await
    }
}

/// What a region's log holds of what was missed.
type Range = (Region, u64, Ready);

fn frames(ranges: Vec<Range>) -> Vec<Frame> {
    let mut frames = Vec::new();
    for (region, epoch, ready) in ranges {
        encode(&region, epoch, ready, &mut frames);
    }
    frames
}

/// A delivery lane of one stream.
struct OwnLane<'a> {
    stream: SendStream,
    metrics: &'a Metrics,
}

impl<'a> OwnLane<'a> {
    async fn open(hold: &'a Hold) -> Result<Self, LaneError> {
        let mut stream = hold
            .pop
            .connection
            .open_uni()
            .await
            .map_err(LaneError::gone)?;
        let first = Lane::Deliveries {
            stream: hold.stream.clone(),
        };
        lane::write(&mut stream, &first).await?;
        let metrics = &hold.pop.shared.metrics;
        metrics.lanes.inc();
        Ok(Self { stream, metrics })
    }

    /// Writes what was missed, then what the follower hands out until there is no more: the lane was too slow, or the
    /// follower ended.
    async fn deliver(
        &mut self,
        missed: Vec<Range>,
        mut frames_to_come: mpsc::Receiver<Frame>,
        cursor: &mut Position,
    ) -> Result<(), LaneError> {
        let stopped = self.stream.stopped();
        let deliver = async {
            for frame in frames(missed) {
                write(&mut self.stream, frame, cursor).await?;
            }
            while let Some(frame) = frames_to_come.recv().await {
                write(&mut self.stream, frame, cursor).await?;
            }
            Ok(())
        };
        tokio::select! {
            delivered = deliver => delivered,
            // The PoP wants no more of it.
            _ = stopped => Err(LaneError::gone("stopped")),
        }
    }
}

impl Drop for OwnLane<'_> {
    fn drop(&mut self) {
        self.metrics.lanes.dec();
    }
}

async fn write(
    stream: &mut SendStream,
    frame: Frame,
    cursor: &mut Position,
) -> Result<(), LaneError> {
    let to = frame.offset();
    // The PoP is ahead: it had this from another gateway.
    let known = cursor.get(&frame.region);
    if known.is_some_and(|known| known.epoch == to.epoch && known.seq >= to.seq) {
        return Ok(());
    }
    stream
        .write_chunk(frame.bytes)
        .await
        .map_err(LaneError::gone)?;
    cursor.advance(&frame.region, to);
    Ok(())
}
