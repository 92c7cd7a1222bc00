//! Sends many frames to many sockets: with one `io_uring` submit per 2,048 frames where the system allows it, else with
//! one `send` each. Callers do not depend on which.

mod plain;
#[cfg(target_os = "linux")]
mod uring;

use std::io;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

pub use plain::Plain;
#[cfg(target_os = "linux")]
pub use uring::Uring;

/// A send that was not complete.
#[derive(Debug)]
pub struct Short {
    /// The index in the batch, from 0.
    pub index: usize,
    /// Bytes that the socket accepted, 0 when it accepts none now; after an error the connection must be removed.
    pub sent: io::Result<usize>,
}

/// Sends batches of frames. Every socket must be non-blocking and occur at most once in a batch.
pub trait BatchSend {
    /// Sends the batch and appends to `short` the sends that were not complete. Returns when all sends are done.
    fn send<'a>(
        &mut self,
        batch: &mut dyn Iterator<Item = (BorrowedFd<'a>, &'a [u8])>,
        short: &mut Vec<Short>,
    );

    /// `io_uring` or `plain`, for logs and metrics.
    fn name(&self) -> &'static str;
}

/// Whether batches go through `io_uring`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IoUring {
    /// When the system supports and allows it.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// Makes a sender for the calling thread, which must be the one that uses it.
#[must_use]
pub fn choose(wish: IoUring) -> Box<dyn BatchSend> {
    #[cfg(target_os = "linux")]
    if wish == IoUring::Auto {
        match Uring::new() {
            Ok(uring) => return Box::new(uring),
            Err(error) => tracing::info!(%error, "io_uring is not to be had; sending plainly"),
        }
    }
    let _ = wish;
    Box::new(Plain)
}

#[cfg(test)]
mod tests;
