//! `leave_stream`: watch a stream no longer.

use chorus_protocol::StreamId;
use chorus_protocol::codec::{Incoming, ReadError};
use chorus_protocol::codes::ErrorCode;

use crate::conn::Phase;
use crate::io::{ConnectionId, Output};
use crate::session::Session;
use crate::session::replies::Refusal;

pub(super) fn run(
    session: &mut Session,
    connection: ConnectionId,
    message: &Incoming<'_>,
    out: &mut Vec<Output>,
) -> Result<(), ReadError> {
    let stream_id: StreamId = message.fields()?.id("stream_id")?;
    let topic = session.streams.topic(stream_id.as_str());
    let left = topic.and_then(|topic| session.conns.take_membership(connection, topic));
    let Some((membership, encoding)) = left else {
        let refusal = Refusal::new(ErrorCode::NotJoined, "the stream is not joined");
        session.refuse(connection, refusal.on(stream_id.as_str()), out);
        return Ok(());
    };
    if membership.phase == Phase::Joined {
        let topic = membership.topic;
        out.push(Output::Leave { connection, topic });
    }
    session.absent(&membership, encoding);
    Ok(())
}
