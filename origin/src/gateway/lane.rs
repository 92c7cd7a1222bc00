//! Lanes: QUIC streams that carry length-prefixed messages.

use chorus_protocol::backhaul::{FrameError, read_frame, read_message, split_frame, write_frame};
use quinn::{RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes read from a lane at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Why a lane ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaneError {
    /// The connection or the lane is gone.
    #[error("{0}")]
    Gone(String),
    /// The peer sent what cannot be read.
    #[error(transparent)]
    Malformed(#[from] FrameError),
}

impl LaneError {
    pub(super) fn gone(error: impl std::fmt::Display) -> Self {
        Self::Gone(error.to_string())
    }
}

/// The reading end: a buffer that grows to the longest message and is used again.
pub(super) struct Reader {
    stream: RecvStream,
    buffer: Vec<u8>,
    taken: usize,
}

impl Reader {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            taken: 0,
        }
    }

    /// A message that is here already; within, `None` for one of a later version.
    pub(super) fn ready<T: DeserializeOwned>(&mut self) -> Result<Option<Option<T>>, LaneError> {
        self.read(|bytes| read_message(bytes))
    }

    fn read<T>(
        &mut self,
        read: impl Fn(&[u8]) -> Result<T, FrameError>,
    ) -> Result<Option<T>, LaneError> {
        let Some((message, rest)) = split_frame(&self.buffer[self.taken..])? else {
            return Ok(None);
        };
        let left = rest.len();
        let value = read(message)?;
        self.taken = self.buffer.len() - left;
        Ok(Some(value))
    }

    /// Waits for more bytes; false when the peer has finished.
    pub(super) async fn fill(&mut self) -> Result<bool, LaneError> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let chunk = self.stream.read_chunk(CHUNK_BYTES, true).await;
        match chunk.map_err(LaneError::gone)? {
            Some(chunk) => {
                self.buffer.extend_from_slice(&chunk.bytes);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Waits for a message that must be known; `None` when the peer has finished.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LaneError> {
        self.wait(|bytes| read_frame(bytes)).await
    }

    /// Waits for a message; within, `None` for one of a later version.
    pub(super) async fn next_message<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<Option<T>>, LaneError> {
        self.wait(|bytes| read_message(bytes)).await
    }

    async fn wait<T>(
        &mut self,
        read: impl Fn(&[u8]) -> Result<T, FrameError>,
    ) -> Result<Option<T>, LaneError> {
        loop {
            if let Some(value) = self.read(&read)? {
                return Ok(Some(value));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }
}

/// The writing end of a lane that several take turns on. Who gives up in the middle of a message leaves the rest to the
/// next: what is on the lane stays readable.
pub(super) struct Shared {
    stream: SendStream,
    message: Vec<u8>,
    written: usize,
}

impl Shared {
    pub(super) fn new(stream: SendStream) -> Self {
        Self {
            stream,
            message: Vec::new(),
            written: 0,
        }
    }

    /// Writes one message.
    pub(super) async fn write<T: Serialize>(&mut self, value: &T) -> Result<(), LaneError> {
        self.finish().await?;
        write_frame(value, &mut self.message)?;
        self.finish().await
    }

    async fn finish(&mut self) -> Result<(), LaneError> {
        while self.written < self.message.len() {
            // Given up here, nothing of it was written.
            let written = self.stream.write(&self.message[self.written..]).await;
            self.written += written.map_err(LaneError::gone)?;
        }
        self.message = Vec::new();
        self.written = 0;
        Ok(())
    }
}

/// Writes one message.
pub(super) async fn write<T: Serialize>(
    stream: &mut SendStream,
    value: &T,
) -> Result<(), LaneError> {
    let mut bytes = Vec::new();
    write_frame(value, &mut bytes)?;
    stream.write_all(&bytes).await.map_err(LaneError::gone)
}
