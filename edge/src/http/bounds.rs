//! Bounds of HTTP connections: their numbers and timeouts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds of the HTTP server. A connection past one of the numbers takes the place of the one that has waited longest for
/// its peer: first of the idle ones, then of those with an incomplete request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpBounds {
    /// HTTP connections at once, 16 to 100,000.
    pub connections_max: usize,
    /// HTTP connections at once from one address (IPv6: from one /64), 1 to 100,000. Behind a proxy all have the proxy's
    /// address, because `X-Forwarded-For` is not read.
    pub connections_per_address_max: usize,
    /// Milliseconds from the first byte of a head to its last, 100 to 600,000; after them 408.
    pub head_ms_max: u64,
    /// Milliseconds from the head to the body's last byte, 100 to 600,000; after them 408.
    pub body_ms_max: u64,
    /// Milliseconds from an answer to the next request, 100 to 3,600,000; after them the connection is closed. A proxy's
    /// timeout for idle connections should be shorter.
    pub idle_ms_max: u64,
    /// Milliseconds until the peer has received an answer, 100 to 3,600,000; after them the connection is closed.
    pub answer_ms_max: u64,
}

impl Default for HttpBounds {
    fn default() -> Self {
        Self {
            connections_max: 2_048,
            connections_per_address_max: 512,
            head_ms_max: 10_000,
            body_ms_max: 10_000,
            idle_ms_max: 75_000,
            answer_ms_max: 60_000,
        }
    }
}

impl HttpBounds {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first value out of its range, by name.
    pub fn check(&self) -> Result<(), String> {
        for (name, given, least, most) in [
            ("connections_max", self.connections_max as u64, 16, 100_000),
            (
                "connections_per_address_max",
                self.connections_per_address_max as u64,
                1,
                100_000,
            ),
            ("head_ms_max", self.head_ms_max, 100, 600_000),
            ("body_ms_max", self.body_ms_max, 100, 600_000),
            ("idle_ms_max", self.idle_ms_max, 100, 3_600_000),
            ("answer_ms_max", self.answer_ms_max, 100, 3_600_000),
        ] {
            if given < least || given > most {
                return Err(format!("{name} is {given}, must be {least} to {most}"));
            }
        }
        Ok(())
    }

    pub(super) fn head(&self) -> Duration {
        Duration::from_millis(self.head_ms_max)
    }

    pub(super) fn body(&self) -> Duration {
        Duration::from_millis(self.body_ms_max)
    }

    pub(super) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms_max)
    }

    pub(super) fn answer(&self) -> Duration {
        Duration::from_millis(self.answer_ms_max)
    }
}
