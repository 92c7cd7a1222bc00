//! `report` and `unreact`: about a comment, read and not served yet.

use chorus_protocol::CommentId;
use chorus_protocol::codec::{Incoming, ReadError};

use crate::io::{ConnectionId, Output};
use crate::session::Session;

/// Tell the moderators of a comment.
pub(super) fn report(
    session: &mut Session,
    connection: ConnectionId,
    message: &Incoming<'_>,
    out: &mut Vec<Output>,
) -> Result<(), ReadError> {
    run(session, connection, message, "reason", out)
}

/// Take back a reaction to a comment.
pub(super) fn unreact(
    session: &mut Session,
    connection: ConnectionId,
    message: &Incoming<'_>,
    out: &mut Vec<Output>,
) -> Result<(), ReadError> {
    run(session, connection, message, "reaction_type", out)
}

/// `text`: the field that a message has beside stream and comment.
fn run(
    session: &mut Session,
    connection: ConnectionId,
    message: &Incoming<'_>,
    text: &'static str,
    out: &mut Vec<Output>,
) -> Result<(), ReadError> {
    let fields = message.fields()?;
    let stream_id = fields.id("stream_id")?;
    fields.id::<CommentId>("comment_id")?;
    fields.text(text)?;
    session.not_available(connection, &stream_id, None, out);
    Ok(())
}
