//! How full this PoP is, for its gateway.

use std::time::{Duration, Instant};

use chorus_protocol::backhaul::ToGateway;

/// The load is said this often at most.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) connections: u64,
    pub(super) draining: bool,
}

/// What it is, and what of it was said.
#[derive(Debug, Default)]
pub(super) struct Load {
    is: Amount,
    said: Option<(Amount, Instant)>,
}

impl Load {
    pub(super) fn set(&mut self, amount: Amount) {
        self.is = amount;
    }

    /// Nothing was said to this gateway.
    pub(super) fn connected(&mut self) {
        self.said = None;
    }

    /// What is to be said now.
    pub(super) fn say(&mut self, now: Instant) -> Option<ToGateway> {
        let due = self.said.is_none() || self.next().is_some_and(|at| at <= now);
        if !due {
            return None;
        }
        self.said = Some((self.is, now));
        Some(ToGateway::Load {
            connections: self.is.connections,
            draining: self.is.draining,
        })
    }

    /// When something changed is to be said.
    pub(super) fn next(&self) -> Option<Instant> {
        let (said, at) = self.said?;
        (said != self.is).then(|| at + EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_to_every_gateway_and_then_on_a_change_once_in_a_second() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let amount = |connections, draining| Amount {
            connections,
            draining,
        };
        let said = |connections, draining| {
            Some(ToGateway::Load {
                connections,
                draining,
            })
        };
        let mut load = Load::default();
        assert_eq!(load.say(at(0)), said(0, false));
        load.set(amount(1, false));
        assert_eq!((load.say(at(10)), load.next()), (None, Some(at(1_000))));
        load.set(amount(2, true));
        assert_eq!(load.say(at(1_000)), said(2, true));
        assert_eq!((load.say(at(5_000)), load.next()), (None, None));
        load.connected();
        assert_eq!(load.say(at(5_001)), said(2, true));
    }
}
