//! Numbers of the close codes that a shard sends, from [`CloseCode`].

use chorus_protocol::codes::CloseCode;

/// A normal end of the connection.
pub const NORMAL: u16 = CloseCode::Normal.number();
/// The server ends; reconnect elsewhere.
pub const GOING_AWAY: u16 = CloseCode::GoingAway.number();
/// A malformed frame.
pub const PROTOCOL: u16 = CloseCode::Protocol.number();
/// A text frame on a binary connection, or the reverse.
pub const UNSUPPORTED: u16 = CloseCode::Unsupported.number();
/// Text that is not UTF-8.
pub const INVALID_DATA: u16 = CloseCode::InvalidData.number();
/// A message over the limit.
pub const TOO_BIG: u16 = CloseCode::TooBig.number();
/// The message made the session component trap.
pub const INTERNAL: u16 = CloseCode::Internal.number();
/// The viewer's queue is full.
pub const TOO_SLOW: u16 = CloseCode::TooSlow.number();
/// Too many connections or messages.
pub const TOO_MANY: u16 = CloseCode::TooMany.number();

/// Whether a peer may send this code (RFC 6455 sections 7.4.1 and 7.4.2, with the IANA registry's 1012 to 1014).
#[must_use]
pub fn may_be_received(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::may_be_received;

    #[test]
    fn reserved_codes_never_travel() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert!(!may_be_received(code), "{code}");
        }
        for code in [1000, 1001, 1003, 1007, 1011, 3000, 4408, 4999] {
            assert!(may_be_received(code), "{code}");
        }
    }
}
