//! `join_stream`: watch a stream, from a resume token on where one is given.

use chorus_protocol::StreamId;
use chorus_protocol::codec::{Fields, Incoming, ReadError};
use chorus_protocol::codes::ErrorCode;

use crate::io::{ConnectionId, Output, TopicId};
use crate::session::Session;
use crate::session::replies::Refusal;
use crate::session::state::topic_name;
use crate::stream::{Resume, Waiter};
use crate::timers::Timer;

pub(super) fn run(
    session: &mut Session,
    connection: ConnectionId,
    message: &Incoming<'_>,
    out: &mut Vec<Output>,
) -> Result<(), ReadError> {
    let fields = message.fields()?;
    let stream_id: StreamId = fields.id("stream_id")?;
    let resume = fields.optional("resume", Fields::text)?;
    if let Err(refusal) = session.try_join(connection, &stream_id, resume.as_deref(), out) {
        session.refuse(connection, refusal.on(stream_id.as_str()), out);
    }
    Ok(())
}

impl Session {
    fn try_join(
        &mut self,
        connection: ConnectionId,
        stream_id: &StreamId,
        resume: Option<&str>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal<'static>> {
        let topic = self.streams.topic(stream_id.as_str());
        let streams_max = self.config.values.limits.streams_per_connection_max as usize;
        let Some(conn) = self.conns.get_mut(connection) else {
            return Ok(());
        };
        if conn.silent_until.take().is_some() {
            self.timers
                .set(Timer::Connection(connection), conn.deadline());
        }
        if topic.is_some_and(|topic| conn.membership(topic).is_some()) {
            let text = "the stream is joined already";
            return Err(Refusal::new(ErrorCode::AlreadyJoined, text));
        }
        if conn.joins.len() >= streams_max {
            let text = "leave another stream first";
            return Err(Refusal::new(ErrorCode::TooManyStreams, text));
        }
        let topic = topic.unwrap_or_else(|| {
            let topic = self.streams.add(stream_id);
            let name = topic_name(stream_id);
            out.push(Output::Subscribe { topic, name });
            topic
        });
        let ticket = self.conns.begin_join(connection, topic);
        let Some(stream) = self.streams.get_mut(topic) else {
            return Ok(());
        };
        stream.present += 1;
        stream.empty_since = None;
        let waiter = Waiter {
            connection,
            ticket,
            resume: Resume::read(resume),
        };
        if stream.live.as_ref().is_some_and(|live| !live.lost) {
            self.admit(topic, waiter, out);
        } else {
            self.wait(topic, waiter);
        }
        Ok(())
    }

    fn wait(&mut self, topic: TopicId, waiter: Waiter) {
        let Some(stream) = self.streams.get_mut(topic) else {
            return;
        };
        // One that joins and leaves while the stream is away leaves its place behind.
        if stream.waiting.len() > 2 * stream.present as usize + 16 {
            let conns = &self.conns;
            stream.waiting.retain(|waiter| {
                let membership = conns.membership(waiter.connection, topic);
                membership.is_some_and(|membership| membership.ticket == waiter.ticket)
            });
        }
        stream.waiting.push(waiter);
    }
}
