//! Comment ids: rising in a shard, 256 a millisecond, and only under a lease of a worker number.

use chorus_protocol::{CommentId, Millis};
use serde::{Deserialize, Serialize};

/// Ids may run this far ahead of the clock; the gateways refuse what is more than twice as far ahead.
const AHEAD_MS_MAX: u64 = 1_000;

/// Mints comment ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Mint {
    worker: u16,
    until: Millis,
    last: Millis,
    sequence: u8,
}

impl Mint {
    pub(crate) fn lease(&mut self, worker: u16, until: Millis) {
        self.worker = worker;
        self.until = until;
    }

    /// A new id; `None` when no worker number is leased or the clock is too far behind.
    pub(crate) fn next(&mut self, now: Millis, shard: u8) -> Option<CommentId> {
        if now >= self.until {
            return None;
        }
        let (at, sequence) = if now > self.last {
            (now, 0)
        } else if self.sequence < u8::MAX {
            (self.last, self.sequence + 1)
        } else {
            (self.last.plus(1), 0)
        };
        if at.since(now) > AHEAD_MS_MAX {
            return None;
        }
        (self.last, self.sequence) = (at, sequence);
        Some(CommentId::compose(at, self.worker, shard, sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_through_a_full_millisecond_and_a_clock_that_stands() {
        let mut mint = Mint::default();
        let now = Millis(1_800_000_000_000);
        assert_eq!(mint.next(now, 3), None);
        mint.lease(7, now.plus(10_000));
        let mut last = CommentId(0);
        for _ in 0..1_000 {
            let id = mint.next(now, 3).expect("leased");
            assert!(id > last);
            assert_eq!(id.worker(), 7);
            last = id;
        }
        assert_eq!(last.minted_at(), now.plus(3));
        assert_eq!(mint.next(now.plus(10_000), 3), None);
    }
}
