//! `unreact`: take back a reaction to a comment; read and not served yet.

use chorus_protocol::CommentId;
use chorus_protocol::codec::{Incoming, ReadError};

use crate::io::{ConnectionId, Output};
use crate::session::Session;

pub(super) fn run(
    session: &mut Session,
    connection: ConnectionId,
    message: &Incoming<'_>,
    out: &mut Vec<Output>,
) -> Result<(), ReadError> {
    let fields = message.fields()?;
    let stream_id = fields.id("stream_id")?;
    fields.id::<CommentId>("comment_id")?;
    fields.text("reaction_type")?;
    session.not_available(connection, &stream_id, None, out);
    Ok(())
}
