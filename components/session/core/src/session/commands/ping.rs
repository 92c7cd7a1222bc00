//! `ping`: anything; it comes back in `pong`.

use chorus_protocol::codec::{Incoming, ReadError};

use crate::encode;
use crate::io::{ConnectionId, Output};
use crate::session::Session;
use crate::session::replies::send;

#[allow(clippy::unnecessary_wraps, reason = "as every command")]
pub(super) fn run(
    session: &mut Session,
    connection: ConnectionId,
    message: &Incoming<'_>,
    out: &mut Vec<Output>,
) -> Result<(), ReadError> {
    if let Some(encoding) = session.conns.encoding(connection) {
        let pong = encode::pong(encoding, message.echo());
        out.push(send(connection, pong));
    }
    Ok(())
}
