//! The worker id this process may mint comment ids with, and until when.

use std::time::{Duration, Instant};

use chorus_protocol::Millis;

/// A renewal is asked for when this share of the lease is over: one part in …
const RENEW_SHARE: u64 = 3;
/// However short a lease is, it is not renewed more often.
const RENEW_MS_MIN: u64 = 50;

/// The lease as the gateway gave it, by this machine's clock.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// This machine's clock less the gateway's, never too large: taken when a message left, before it was read.
    ahead_ms: i64,
    granted: Option<Granted>,
    renew_at: Option<Instant>,
    /// When a renewal was asked for last.
    asked_at: Option<Millis>,
}

/// A valid lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) worker: u16,
    /// Not valid from this time on, by this machine's clock.
    pub(super) until: Millis,
}

impl Lease {
    /// Takes the clocks' difference: the gateway's was read after `sent`.
    pub(super) fn clocks(&mut self, sent: Millis, gateway_now: Millis) {
        self.ahead_ms = signed(sent).saturating_sub(signed(gateway_now));
    }

    /// Takes a lease or its renewal; says what the shards are told.
    pub(super) fn grant(
        &mut self,
        now: Instant,
        wall: Millis,
        worker: u16,
        until: Millis,
        margin_ms: u64,
    ) -> Granted {
        let mine = signed(until).saturating_add(self.ahead_ms);
        let until = Millis(u64::try_from(mine).unwrap_or(0).saturating_sub(margin_ms));
        let left = until.since(wall);
        self.renew_at = Some(now + Duration::from_millis((left / RENEW_SHARE).max(RENEW_MS_MIN)));
        let granted = Granted { worker, until };
        self.granted = Some(granted);
        granted
    }

    /// The lease as the shards were told it last.
    pub(super) fn granted(&self) -> Option<Granted> {
        self.granted
    }

    /// Whether it is time to ask for a renewal; not again before as much of what is left is over.
    pub(super) fn renew(&mut self, now: Instant, wall: Millis) -> bool {
        if self.renew_at.is_none_or(|at| at > now) {
            return false;
        }
        self.asked_at = Some(wall);
        let left = self.granted.map_or(0, |granted| granted.until.since(wall));
        self.renew_at = Some(now + Duration::from_millis((left / RENEW_SHARE).max(RENEW_MS_MIN)));
        true
    }

    /// When a renewal that was not answered yet was asked for.
    pub(super) fn asked_at(&mut self) -> Option<Millis> {
        self.asked_at.take()
    }

    /// No gateway to renew with.
    pub(super) fn disconnected(&mut self) {
        self.renew_at = None;
        self.asked_at = None;
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.renew_at
    }
}

fn signed(at: Millis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}
