//! Sending many frames to many sockets: with one `io_uring` submit per 2,048 where the system allows it, else with a
//! `send` each. The rest of the shard does not know which.

mod plain;
#[cfg(target_os = "linux")]
mod uring;

use std::io;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

pub use plain::Plain;
#[cfg(target_os = "linux")]
pub use uring::Uring;

/// A send that did not take all of its bytes.
#[derive(Debug)]
pub struct Short {
    /// Which of the batch, counted from 0.
    pub index: usize,
    /// How many bytes the socket took, 0 when it takes none now; an error ends the connection.
    pub sent: io::Result<usize>,
}

/// Sends batches. Every socket is non-blocking and occurs at most once in a batch.
pub trait BatchSend {
    /// Sends all, and appends to `short` those that were not taken whole. Returns when all are done.
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
    /// Where the system has it and allows it.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// Chooses for this thread, which must be the one that sends.
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
