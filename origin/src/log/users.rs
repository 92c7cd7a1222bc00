//! Words to users: said to every gateway of every region, each of which answers.

use bytes::Bytes;
use chorus_protocol::UserId;

use super::{Answer, Calls, Feed, Regional};

/// The gateways' answers as they come.
pub type UserAnswers = Feed<Bytes>;

/// Words to users. Every answer fails when the log is away.
pub trait UserWords: Regional {
    /// Says something to every gateway that can be reached; who does not answer is for the caller to find out.
    fn tell_user<'a>(&'a self, user: &'a UserId, body: Vec<u8>) -> Answer<'a, UserAnswers>;
    /// Takes everything that is said to any user. Fails when the connection is closed for good.
    fn hear_users(&self) -> Answer<'_, Calls>;
}
