//! Code shared by the end-to-end tests: a running `chorus dev`, tokens, floods and raw sockets.
//!
//! Tests use only the interfaces of viewers, operators and shells, no internals of a server.

pub mod dev;
pub mod disk;
pub mod flood;
pub mod history;
pub mod house;
pub mod jwt;
pub mod pop;
pub mod raw;
#[cfg(target_os = "linux")]
pub mod wan;

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// A timeout for operations that take milliseconds, long enough for a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// Polls until the result is `Some`.
///
/// # Errors
/// When it is not within the time.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = ask().await {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("not within {} s: {what}", within.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
