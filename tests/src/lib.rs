//! What the end-to-end tests share: a whole Chorus as `chorus dev` runs it, tokens, floods and raw sockets.
//!
//! Nothing here reaches into a server: a test sees what a viewer, an operator or a shell sees.

pub mod dev;
pub mod disk;
pub mod flood;
pub mod history;
pub mod house;
pub mod jwt;
pub mod pop;
pub mod raw;

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// Enough for anything that should take milliseconds, on a machine that is busy with other things.
pub const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until it is so.
///
/// # Errors
/// When it is not so within the time.
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
