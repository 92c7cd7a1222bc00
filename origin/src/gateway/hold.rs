//! A stream held for a PoP: its follower decides what the PoP is told and by which way deliveries go; this writes the
//! answers and the lane of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::backhaul::{Held, Lane, ToPop};
use chorus_protocol::stream::{Life, Revision};
use chorus_protocol::{Position, StreamId};
use quinn::{SendStream, VarInt};
use tokio::sync::{mpsc, watch};

use super::directory::Found;
use super::follower::core::{Answer, LaneId};
use super::follower::{Ask, Outlet, TOLD_MAX, Told};
use super::lane::{self, LaneError};
use super::pop::Pop;
use crate::metrics::Metrics;

/// From one try to the next while the log is away.
const RETRY: Duration = Duration::from_millis(200);
/// The error code of a lane that is replaced by another one, or of which no more is wanted.
const REPLACED: VarInt = VarInt::from_u32(1);
/// Deliveries written in one go.
const GROUP_MAX: usize = 64;

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
            .ask(&self.stream, Ask::Release { lane: self.lane });
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
    async fn run(
        &self,
        mut have: Option<Position>,
        knows: Option<Revision>,
    ) -> Result<(), LaneError> {
        // From before it is looked up, so that no change falls in between.
        let lives = self.pop.shared.directory.watch(&self.stream);
        let Some(life) = self.life().await else {
            return self.answer(Held::Unknown).await;
        };
        let mut known = Known {
            lives,
            life,
            told: knows.unwrap_or_default(),
        };
        // A follower that ends under a hold is followed by another one.
        loop {
            self.follow(&mut have, &mut known).await?;
        }
    }

    /// Does as one follower says, until it ends; `have` is what the PoP has at least.
    async fn follow(
        &self,
        have: &mut Option<Position>,
        known: &mut Known,
    ) -> Result<(), LaneError> {
        let (tell, mut told) = mpsc::channel(TOLD_MAX);
        let ask = Ask::Hold {
            lane: self.lane,
            have: have.clone(),
            outlet: Outlet {
                connection: self.pop.connection.clone(),
                quiet: self.pop.quiet.clone(),
                told: tell,
                own: None,
            },
        };
        self.pop.shared.followers.send(&self.stream, ask).await;
        let mut own = Own::new(self);
        let mut answered = false;
        loop {
            tokio::select! {
                biased;
                told = told.recv() => match told {
                    None => return Ok(()),
                    Some(Told::Answer(answer)) => {
                        known.look();
                        if let Answer::Fresh(snapshot) | Answer::Gap(snapshot) = &answer {
                            own = Own::new(self);
                            known.told = known.life.revision();
                            *have = Some(snapshot.at.clone());
                        }
                        self.answer(answer.held(&known.life)).await?;
                        answered = true;
                        self.tell_life(known).await?;
                    }
                    Some(Told::Own(queue)) => own.write(queue),
                    Some(Told::Quiet) => own.leave(),
                },
                drained = own.written() => if drained? {
                    let lane = self.lane;
                    self.pop.shared.followers.send(&self.stream, Ask::Drained { lane }).await;
                },
                changed = known.lives.changed(), if answered => {
                    changed.map_err(LaneError::gone)?;
                    self.tell_life(known).await?;
                }
            }
        }
    }

    /// Tells the PoP how the stream itself stands, when it does not know that.
    async fn tell_life(&self, known: &mut Known) -> Result<(), LaneError> {
        known.look();
        if known.life.revision() <= known.told {
            return Ok(());
        }
        known.told = known.life.revision();
        let (stream, life) = (self.stream.clone(), Box::new((*known.life).clone()));
        self.pop.tell(&ToPop::Life { stream, life }).await
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

    async fn answer(&self, held: Held) -> Result<(), LaneError> {
        let stream = self.stream.clone();
        self.pop.tell(&ToPop::Held { stream, held }).await
    }
}

/// What is known of the stream itself, and what the PoP knows.
struct Known {
    lives: watch::Receiver<Found>,
    life: Arc<Life>,
    told: Revision,
}

impl Known {
    fn look(&mut self) {
        if let Some(life) = &*self.lives.borrow_and_update()
            && life.revision() > self.life.revision()
        {
            self.life = Arc::clone(life);
        }
    }
}

type Writing<'a> = Pin<Box<dyn Future<Output = Result<OwnLane<'a>, LaneError>> + Send + 'a>>;

/// The stream's own lane, when it has one: opened with its first queue.
struct Own<'a> {
    hold: &'a Hold,
    lane: Option<OwnLane<'a>>,
    writing: Option<Writing<'a>>,
    next: Option<mpsc::Receiver<Bytes>>,
    leaves: bool,
}

impl<'a> Own<'a> {
    fn new(hold: &'a Hold) -> Self {
        Self {
            hold,
            lane: None,
            writing: None,
            next: None,
            leaves: false,
        }
    }

    /// Writes what comes down the queue, after all of the one before.
    fn write(&mut self, queue: mpsc::Receiver<Bytes>) {
        self.leaves = false;
        if self.writing.is_some() {
            self.next = Some(queue);
            return;
        }
        let (hold, lane) = (self.hold, self.lane.take());
        self.writing = Some(Box::pin(async move {
            let mut lane = match lane {
                Some(lane) => lane,
                None => OwnLane::open(hold).await?,
            };
            lane.write(queue).await?;
            Ok(lane)
        }));
    }

    /// Finishes the lane, when all of its queue is written.
    fn leave(&mut self) {
        self.leaves = self.writing.is_some();
        if let Some(lane) = self.lane.take() {
            lane.finish();
        }
    }

    /// Waits until a queue ended and all of it is written; true when it ended because it was full.
    async fn written(&mut self) -> Result<bool, LaneError> {
        let Some(writing) = &mut self.writing else {
            return std::future::pending().await;
        };
        let lane = writing.await;
        self.writing = None;
        let lane = lane?;
        if let Some(queue) = self.next.take() {
            self.lane = Some(lane);
            self.write(queue);
            return Ok(false);
        }
        if std::mem::take(&mut self.leaves) {
            lane.finish();
            return Ok(false);
        }
        self.lane = Some(lane);
        Ok(true)
    }
}

/// A delivery lane of one stream; dropped without [`OwnLane::finish`], what was not read of it is obsolete.
struct OwnLane<'a> {
    stream: SendStream,
    metrics: &'a Metrics,
    finished: bool,
}

impl<'a> OwnLane<'a> {
    async fn open(hold: &'a Hold) -> Result<Self, LaneError> {
        let connection = &hold.pop.connection;
        let mut stream = connection.open_uni().await.map_err(LaneError::gone)?;
        let first = Lane::Deliveries {
            stream: hold.stream.clone(),
        };
        lane::write(&mut stream, &first).await?;
        let metrics = &hold.pop.shared.metrics;
        metrics.lanes.inc();
        Ok(Self {
            stream,
            metrics,
            finished: false,
        })
    }

    async fn write(&mut self, mut queue: mpsc::Receiver<Bytes>) -> Result<(), LaneError> {
        let stopped = self.stream.stopped();
        let write = async {
            let mut group = Vec::new();
            while queue.recv_many(&mut group, GROUP_MAX).await > 0 {
                let written = self.stream.write_all_chunks(&mut group).await;
                written.map_err(LaneError::gone)?;
                group.clear();
            }
            Ok(())
        };
        tokio::select! {
            written = write => written,
            // The PoP wants no more of it.
            _ = stopped => Err(LaneError::gone("stopped")),
        }
    }

    fn finish(mut self) {
        self.finished = true;
        // Else it is stopped, or the connection gone.
        let _ = self.stream.finish();
    }
}

impl Drop for OwnLane<'_> {
    fn drop(&mut self) {
        self.metrics.lanes.dec();
        if !self.finished {
            let _ = self.stream.reset(REPLACED);
        }
    }
}
