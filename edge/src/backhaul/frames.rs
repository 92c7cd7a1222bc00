//! Whole messages out of a lane, several at a time.

use bytes::{Bytes, BytesMut};
use chorus_protocol::backhaul::{FrameError, split_frame};
use quinn::{RecvStream, VarInt};

const HEAD_BYTES: usize = 4;
/// Bytes taken from the transport in one go.
const CHUNK_BYTES: usize = 256 << 10;

/// Why a lane ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaneError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Read(#[from] quinn::ReadError),
    #[error("it ended within a message")]
    Cut,
}

/// Reads a lane's messages.
pub(super) struct Frames {
    lane: RecvStream,
    buffer: BytesMut,
}

impl Frames {
    pub(super) fn new(lane: RecvStream) -> Self {
        Self {
            lane,
            buffer: BytesMut::new(),
        }
    }

    /// Waits for at least one whole message and appends all that are there. `false`: the lane has ended.
    pub(super) async fn read(&mut self, frames: &mut Vec<Bytes>) -> Result<bool, LaneError> {
        loop {
            let Some(chunk) = self.lane.read_chunk(CHUNK_BYTES, true).await? else {
                if self.buffer.is_empty() {
                    return Ok(false);
                }
                return Err(LaneError::Cut);
            };
            let before = frames.len();
            if self.buffer.is_empty() {
                // The usual case: whole messages, passed on without a copy.
                let mut rest = chunk.bytes;
                while let Some(length) = whole(&rest)? {
                    let mut frame = rest.split_to(length);
                    frames.push(frame.split_off(HEAD_BYTES));
                }
                self.buffer.extend_from_slice(&rest);
            } else {
                self.buffer.extend_from_slice(&chunk.bytes);
                while let Some(length) = whole(&self.buffer)? {
                    let mut frame = self.buffer.split_to(length).freeze();
                    frames.push(frame.split_off(HEAD_BYTES));
                }
            }
            if frames.len() > before {
                return Ok(true);
            }
        }
    }

    /// Wants no more of the lane.
    pub(super) fn stop(&mut self, code: VarInt) {
        // An error says that it has ended.
        let _ = self.lane.stop(code);
    }

    /// The next message alone.
    pub(super) async fn first(
        &mut self,
        rest: &mut Vec<Bytes>,
    ) -> Result<Option<Bytes>, LaneError> {
        if !self.read(rest).await? {
            return Ok(None);
        }
        Ok(Some(rest.remove(0)))
    }
}

/// The bytes of the first message with its head, when it is whole.
fn whole(buffer: &[u8]) -> Result<Option<usize>, FrameError> {
    Ok(split_frame(buffer)?.map(|(frame, _)| HEAD_BYTES + frame.len()))
}
