//! A PoP's quiet lane: the deliveries of all its streams with few comments, gathered and written together.
//!
//! Most streams are quiet, and a PoP holds many. A lane each would cost both sides a task to wake and a QUIC frame for
//! every comment. A stream that gets busy has its own, so that it never holds the others up.

use std::sync::Arc;

use bytes::Bytes;
use chorus_protocol::StreamId;
use chorus_protocol::backhaul::{Lane, write_frame, write_quiet};
use chorus_quic::Pace;
use tokio::sync::mpsc;

use super::follower::core::Frame;
use super::lane::LaneError;

/// Deliveries waiting for one PoP's quiet lane; at the bound a stream goes on over a lane of its own.
const WAITING_MAX: usize = 8_192;
/// Deliveries written at once.
const GROUP_MAX: usize = 1_024;

/// The way onto a PoP's quiet lane: whose, and a frame's bytes.
pub(super) type Quiet = mpsc::Sender<(StreamId, Bytes)>;

/// Starts the lane; it is opened with its first delivery and ends when the last way onto it is dropped.
pub(super) fn start(connection: quinn::Connection, pace: Arc<Pace>) -> Quiet {
    let (quiet, waiting) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        if let Err(error) = write(&connection, &pace, waiting).await {
            tracing::debug!(%error, "a quiet lane ended");
        }
    });
    quiet
}

async fn write(
    connection: &quinn::Connection,
    pace: &Pace,
    mut waiting: mpsc::Receiver<(StreamId, Bytes)>,
) -> Result<(), LaneError> {
    let mut group = Vec::with_capacity(GROUP_MAX);
    let mut lane = None;
    while waiting.recv_many(&mut group, GROUP_MAX).await > 0 {
        pace.count(group.len());
        let mut bytes = Vec::new();
        let lane = match &mut lane {
            Some(lane) => lane,
            None => {
                write_frame(&Lane::Quiet, &mut bytes)?;
                lane.insert(connection.open_uni().await.map_err(LaneError::gone)?)
            }
        };
        for (stream, frame) in group.drain(..) {
            write_quiet(&stream, Frame::delivery(&frame), &mut bytes)?;
        }
        lane.write_chunk(bytes.into())
            .await
            .map_err(LaneError::gone)?;
    }
    Ok(())
}
