//! Ends a connection whose gateway no longer hears this process although it is heard itself.
//!
//! Where only one direction is cut, each packet of the gateway begins QUIC's idle time anew until the gateway has given up by
//! its own, so that the way around takes twice that time.

use std::time::Duration;

use chorus_protocol::backhaul::CloseCode;
use quinn::{Connection, ConnectionStats};

use super::lanes::code;

/// Looks in the idle time.
const LOOKS: u32 = 10;
/// Looks in a row that must find something unacknowledged. They are counted rather than timed: a process that was
/// stopped for a while has not read yet what came meanwhile.
const UNHEARD_LOOKS: u32 = 8;

/// Looks at a connection until it is to be given up, and closes it then.
pub(super) async fn watch(connection: Connection, idle: Duration) {
    let mut unheard = Unheard::default();
    loop {
        tokio::time::sleep(idle / LOOKS).await;
        let stats = connection.stats();
        if unheard.look(sent(&stats), stats.path.rtt) {
            tracing::warn!("the gateway acknowledges nothing; connecting anew");
            connection.close(code(CloseCode::GoingAway), b"unheard");
            return;
        }
    }
}

/// Frames that must be acknowledged; lost ones are sent again and count again.
fn sent(stats: &ConnectionStats) -> u64 {
    let sent = &stats.frame_tx;
    sent.stream + sent.datagram + sent.ping
}

/// What was counted at the last acknowledgement. Every new one changes the round trip, which is an average in nanoseconds; how many
/// frames with acknowledgements came says nothing, for old ones are repeated.
#[derive(Debug, Default)]
struct Unheard {
    rtt: Duration,
    sent: u64,
    looks: u32,
}

impl Unheard {
    /// Takes in a look; whether the connection is to be given up.
    fn look(&mut self, sent: u64, rtt: Duration) -> bool {
        if rtt != self.rtt || sent == self.sent {
            *self = Self {
                rtt,
                sent,
                looks: 0,
            };
            return false;
        }
        self.looks += 1;
        self.looks >= UNHEARD_LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_up_when_what_was_sent_is_not_acknowledged_for_long() {
        let mut unheard = Unheard::default();
        let rtt = Duration::from_nanos;
        // Nothing is sent, also when nothing is acknowledged.
        assert!((0..100).all(|_| !unheard.look(0, rtt(0))));
        // One acknowledgement among much that is sent is enough.
        for sent in 1..100 {
            assert!(!unheard.look(sent, rtt(sent / u64::from(UNHEARD_LOOKS - 1))));
        }
        assert!(!unheard.look(100, rtt(100)));
        let given_up = (101..).position(|sent| unheard.look(sent, rtt(100)));
        assert_eq!(given_up, Some(UNHEARD_LOOKS as usize - 1));
    }
}
