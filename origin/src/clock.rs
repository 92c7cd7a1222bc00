//! The one place where the origin reads the time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use chorus_protocol::Millis;

/// Milliseconds since 1970 by this machine's clock.
#[must_use]
pub fn now() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A number that another process or another call is unlikely to draw: for names, never for secrets.
#[must_use]
pub fn draw() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Every `RandomState` is keyed from the operating system's entropy.
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(now().0);
    hasher.finish()
}
