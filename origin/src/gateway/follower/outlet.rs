//! A lane's end in the follower.

use bytes::Bytes;
use chorus_protocol::StreamId;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::core::{Answer, ToLane};
use crate::gateway::quiet::Quiet;

/// What a hold is told and has not heard; with more it starts anew.
pub(in crate::gateway) const TOLD_MAX: usize = 16;
/// Deliveries waiting in a queue of a lane's own; at the bound the lane lags, see the metric `lanes_lagged`.
const QUEUE_MAX: usize = 1_024;

/// What a hold is told; the end of it: the follower ended.
pub(in crate::gateway) enum Told {
    Answer(Answer),
    /// Deliveries come from here; at its end the queue was full, or deliveries come another way.
    Own(mpsc::Receiver<Bytes>),
    /// Deliveries go over the quiet lane.
    Quiet,
}

/// The ways to a PoP.
pub(in crate::gateway) struct Outlet {
    pub(in crate::gateway) connection: quinn::Connection,
    pub(in crate::gateway) quiet: Quiet,
    pub(in crate::gateway) told: mpsc::Sender<Told>,
    pub(in crate::gateway) own: Option<mpsc::Sender<Bytes>>,
}

impl Outlet {
    /// False: the hold is gone, or does not listen.
    pub(super) fn tell(&mut self, to: ToLane) -> bool {
        let told = match to {
            ToLane::Answer(answer) => Told::Answer(answer),
            ToLane::Own => {
                let (own, queue) = mpsc::channel(QUEUE_MAX);
                self.own = Some(own);
                Told::Own(queue)
            }
            ToLane::Quiet => Told::Quiet,
        };
        let quiet = matches!(told, Told::Quiet);
        let heard = self.told.try_send(told).is_ok();
        if quiet {
            // After it was told: the queue's end is no lag then.
            self.own = None;
        }
        heard
    }

    /// Hands a delivery over.
    pub(super) fn put(&self, stream: &StreamId, bytes: &Bytes) -> Result<(), TrySendError<()>> {
        match &self.own {
            Some(own) => own.try_send(bytes.clone()).map_err(without),
            None => {
                let delivery = (stream.clone(), bytes.clone());
                self.quiet.try_send(delivery).map_err(without)
            }
        }
    }

    /// The hold is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.told.is_closed()
    }
}

fn without<T>(error: TrySendError<T>) -> TrySendError<()> {
    match error {
        TrySendError::Full(_) => TrySendError::Full(()),
        TrySendError::Closed(_) => TrySendError::Closed(()),
    }
}
