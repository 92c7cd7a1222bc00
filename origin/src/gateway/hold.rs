//! A stream held for a PoP: the answer, then a delivery lane that never skips.
//!
//! A PoP that reads too slowly fills its queue; its lane then writes what it has and catches up from the log, from the
//! last position written. Only what is too much to catch up with is a gap, and then the PoP is told.

use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::backhaul::{Held, Lane, StreamState, ToPop};
use chorus_protocol::stream::StreamInfo;
use chorus_protocol::{Offset, Position, StreamId};
use quinn::{SendStream, VarInt};

use super::catch_up::{Missed, missed};
use super::follower::{Ask, Attached, Frame, LaneId, encode};
use super::lane::{self, LaneError};
use super::pop::Pop;

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
pub(super) async fn hold(pop: Arc<Pop>, stream: StreamId, have: Option<Position>) {
    let lane = pop.shared.followers.lane();
    let hold = Hold { pop, stream, lane };
    if let Err(error) = hold.run(have).await {
        tracing::debug!(stream = %hold.stream, pop = %hold.pop.id.0, %error, "a delivery lane ended");
    }
}

impl Hold {
    async fn run(&self, have: Option<Position>) -> Result<(), LaneError> {
        let Some(info) = self.info().await else {
            return self.answer(Held::Unknown).await;
        };
        let mut attached = self.attach().await;
        let mut cursor = match have {
            None => {
                let at = attached.at.clone();
                let state = self.state(&info, &attached);
                self.answer(Held::Fresh(Box::new(state))).await?;
                at
            }
            Some(have) => match self.missed(&have, &attached.at).await {
                Missed::All(ranges) => {
                    self.answer(Held::Resumed).await?;
                    let mut lane = self.open().await?;
                    let mut cursor = have;
                    self.write_ranges(&mut lane, ranges, &mut cursor).await?;
                    return self.deliver(info, lane, cursor, attached).await;
                }
                Missed::Gap => self.tell_gap(&info, &attached).await?,
            },
        };
        // Position of the state; the lane begins there.
        for (region, at) in &attached.at.0 {
            cursor.advance(region, *at);
        }
        let lane = self.open().await?;
        attached = Attached {
            newest: Vec::new(),
            ..attached
        };
        self.deliver(info, lane, cursor, attached).await
    }

    /// Writes what the follower hands out; catches up when it was too slow or the follower began anew.
    async fn deliver(
        &self,
        info: Arc<StreamInfo>,
        mut lane: SendStream,
        mut cursor: Position,
        mut attached: Attached,
    ) -> Result<(), LaneError> {
        self.pop.shared.metrics.lanes.inc();
        let result = loop {
            let stopped = lane.stopped();
            let ended = tokio::select! {
                ended = pump(&mut lane, &mut attached, &mut cursor) => ended,
                // The PoP wants no more of it.
                _ = stopped => Err(LaneError::gone("stopped")),
            };
            if let Err(error) = ended {
                break Err(error);
            }
            attached = self.attach().await;
            match self.missed(&cursor, &attached.at).await {
                Missed::All(ranges) => {
                    if let Err(error) = self.write_ranges(&mut lane, ranges, &mut cursor).await {
                        break Err(error);
                    }
                }
                Missed::Gap => {
                    let _ = lane.reset(REPLACED);
                    match self.restart(&info, &attached).await {
                        Ok((new, at)) => (lane, cursor) = (new, at),
                        Err(error) => break Err(error),
                    }
                }
            }
        };
        self.pop.shared.metrics.lanes.dec();
        result
    }

    async fn restart(
        &self,
        info: &Arc<StreamInfo>,
        attached: &Attached,
    ) -> Result<(SendStream, Position), LaneError> {
        // The stream may have changed since it was held first.
        let found = self.pop.shared.directory.find(&self.stream).await;
        let info = found.ok().flatten().unwrap_or_else(|| Arc::clone(info));
        let at = self.tell_gap(&info, attached).await?;
        Ok((self.open().await?, at))
    }

    async fn tell_gap(
        &self,
        info: &StreamInfo,
        attached: &Attached,
    ) -> Result<Position, LaneError> {
        let state = self.state(info, attached);
        let at = state.at.clone();
        self.answer(Held::Gap(Box::new(state))).await?;
        Ok(at)
    }

    /// The stream, or `None` when there is none; waits while the log is away.
    async fn info(&self) -> Option<Arc<StreamInfo>> {
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

    async fn attach(&self) -> Attached {
        let pop = &self.pop;
        let followers = &pop.shared.followers;
        followers
            .attach(&self.stream, self.lane, &pop.connection)
            .await
    }

    /// Reads what was missed; waits while the log is away.
    async fn missed(&self, from: &Position, to: &Position) -> Missed {
        let shared = &self.pop.shared;
        loop {
            let read = missed(&shared.log, &self.stream, from, to, shared.resume_max).await;
            match read {
                Ok(missed) => return missed,
                Err(error) => tracing::debug!(stream = %self.stream, %error, "cannot catch up yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn state(&self, info: &StreamInfo, attached: &Attached) -> StreamState {
        StreamState {
            info: info.clone(),
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

    async fn open(&self) -> Result<SendStream, LaneError> {
        let mut lane = self
            .pop
            .connection
            .open_uni()
            .await
            .map_err(LaneError::gone)?;
        let stream = self.stream.clone();
        lane::write(&mut lane, &Lane::Deliveries { stream }).await?;
        Ok(lane)
    }

    async fn write_ranges(
        &self,
        lane: &mut SendStream,
        ranges: Vec<(chorus_protocol::Region, u64, super::gap::Ready)>,
        cursor: &mut Position,
    ) -> Result<(), LaneError> {
        let mut frames = Vec::new();
        for (region, epoch, ready) in ranges {
            encode(&region, epoch, ready, &mut frames);
        }
        for frame in frames {
            write_frame(lane, frame, cursor).await?;
        }
        Ok(())
    }
}

/// Writes frames until there are no more: the lane was too slow, or the follower ended.
async fn pump(
    lane: &mut SendStream,
    attached: &mut Attached,
    cursor: &mut Position,
) -> Result<(), LaneError> {
    while let Some(frame) = attached.frames.recv().await {
        write_frame(lane, frame, cursor).await?;
    }
    Ok(())
}

async fn write_frame(
    lane: &mut SendStream,
    frame: Frame,
    cursor: &mut Position,
) -> Result<(), LaneError> {
    let to = Offset {
        epoch: frame.epoch,
        seq: frame.to,
    };
    // The PoP is ahead: it had this from another gateway.
    let known = cursor.get(&frame.region);
    if known.is_some_and(|known| known.epoch == to.epoch && known.seq >= to.seq) {
        return Ok(());
    }
    lane.write_chunk(frame.bytes)
        .await
        .map_err(LaneError::gone)?;
    cursor.advance(&frame.region, to);
    Ok(())
}
