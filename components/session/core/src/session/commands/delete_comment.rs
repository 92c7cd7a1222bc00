//! `delete_comment`: its author, a moderator, the broadcaster or an admin takes a comment away.
//!
//! Whether a viewer wrote the comment is not known here: the gateway looks it up and refuses.

use chorus_protocol::codec::{Fields, Incoming, ReadError};

use crate::io::{ConnectionId, Output};
use crate::session::Session;
use crate::session::decisions::{Asked, REMOVE};

pub(super) fn run(
    session: &mut Session,
    connection: ConnectionId,
    message: &Incoming<'_>,
    out: &mut Vec<Output>,
) -> Result<(), ReadError> {
    let fields = message.fields()?;
    let asked = Asked {
        connection,
        stream: fields.id("stream_id")?,
        comment: fields.id("comment_id")?,
        client_id: fields.optional("client_id", Fields::id)?,
        moderators_only: false,
    };
    session.decide(&REMOVE, asked, out);
    Ok(())
}
