//! `authenticate`: who the viewer is, or still is.

use chorus_protocol::codec::{Incoming, ReadError};
use chorus_protocol::codes::ErrorCode;

use crate::io::{ConnectionId, Output};
use crate::session::Session;
use crate::session::replies::Refusal;
use crate::timers::Timer;

/// What checking a token costs of the message bucket: a signature is the dearest thing a client can ask for.
pub(super) const COST: u64 = 10;

pub(super) fn run(
    session: &mut Session,
    connection: ConnectionId,
    message: &Incoming<'_>,
    out: &mut Vec<Output>,
) -> Result<(), ReadError> {
    let token = message.fields()?.text("token")?;
    if let Err(refusal) = session.try_authenticate(connection, &token, out) {
        session.refuse(connection, refusal, out);
    }
    Ok(())
}

impl Session {
    fn try_authenticate(
        &mut self,
        connection: ConnectionId,
        token: &str,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal<'static>> {
        let Some(conn) = self.conns.get_mut(connection) else {
            return Ok(());
        };
        let identity = match self.config.verifier.verify(token, self.now) {
            Ok(identity) => identity,
            Err(error) => {
                self.stats.tokens_refused += 1;
                return Err(Refusal::new(ErrorCode::InvalidToken, error.to_string()));
            }
        };
        let before = conn.identity.as_ref();
        if before.is_some_and(|before| before.user != identity.user) {
            let text = "the connection belongs to another user; open a new one";
            return Err(Refusal::new(ErrorCode::WrongUser, text));
        }
        if before.is_none() {
            self.present.came(&identity.user);
        }
        conn.identity = Some(Box::new(identity));
        conn.expiry_told = false;
        conn.silent_until = None;
        self.timers
            .set(Timer::Connection(connection), conn.deadline());
        self.regroup(connection, out);
        Ok(())
    }
}
