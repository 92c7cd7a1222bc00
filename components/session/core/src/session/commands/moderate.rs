//! `moderate`: a moderator, the broadcaster or an admin decides about a comment; which actions there are is the table of
//! `decisions.rs`.

use chorus_protocol::codec::{Incoming, ReadError};
use chorus_protocol::{ClientId, StreamId};

use crate::io::{ConnectionId, Output};
use crate::session::Session;
use crate::session::decisions::{Action, Asked};

pub(super) fn run(
    session: &mut Session,
    connection: ConnectionId,
    message: &Incoming<'_>,
    out: &mut Vec<Output>,
) -> Result<(), ReadError> {
    let fields = message.fields()?;
    let stream: StreamId = fields.id("stream_id")?;
    let client_id: ClientId = fields.id("client_id")?;
    let Some(action) = Action::named(&fields.text("action")?) else {
        session.not_available(connection, &stream, Some(client_id.as_str()), out);
        return Ok(());
    };
    let asked = Asked {
        connection,
        stream,
        comment: fields.id("comment_id")?,
        client_id: Some(client_id),
        moderators_only: true,
    };
    session.decide(action, asked, out);
    Ok(())
}
