//! What clients ask for: one file for each message, with what it reads, its rule and its effect, and here the table of them.

mod authenticate;
mod delete_comment;
mod join_stream;
mod leave_stream;
mod moderate;
mod ping;
mod planned;
mod post_comment;
mod react;

use chorus_protocol::codec::{Incoming, ReadError};
use chorus_protocol::codes::ErrorCode;
use chorus_protocol::{Millis, StreamId};
use chorus_tokens::Identity;

use super::Session;
use super::replies::Refusal;
use crate::conn::Conn;
use crate::io::{ConnectionId, Output, TopicId};

/// What most messages cost of the connection's bucket.
pub(super) const COST: u64 = 1;
/// When trying again makes sense after `unavailable`, in milliseconds.
pub(super) const UNAVAILABLE_RETRY_MS: u64 = 1_000;

/// Reads a message's fields and carries it out; an error is one of reading, everything else it answers itself.
type Run = fn(&mut Session, ConnectionId, &Incoming<'_>, &mut Vec<Output>) -> Result<(), ReadError>;

/// A message that clients may send.
#[derive(Clone, Copy)]
pub(super) struct Command {
    /// Its `type`.
    name: &'static str,
    /// What it costs of the connection's bucket.
    pub(super) cost: u64,
    pub(super) run: Run,
}

const fn command(name: &'static str, cost: u64, run: Run) -> Command {
    Command { name, cost, run }
}

const COMMANDS: &[Command] = &[
    command("authenticate", authenticate::COST, authenticate::run),
    command("delete_comment", COST, delete_comment::run),
    command("join_stream", COST, join_stream::run),
    command("leave_stream", COST, leave_stream::run),
    command("moderate", COST, moderate::run),
    command("ping", COST, ping::run),
    command("post_comment", COST, post_comment::run),
    command("react", COST, react::run),
    command("report", COST, planned::report),
    command("unreact", COST, planned::unreact),
];

/// The command of a `type`.
pub(super) fn named(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// Who is behind a connection, by a token that holds; `without` says for what one is needed.
pub(super) fn identity<'a>(
    conn: &'a Conn,
    now: Millis,
    without: &str,
) -> Result<&'a Identity, Refusal<'static>> {
    let Some(identity) = conn.identity.as_deref() else {
        let text = format!("a token is needed to {without}");
        return Err(Refusal::new(ErrorCode::Unauthenticated, text));
    };
    if identity.expires <= now {
        let text = "the token has expired";
        return Err(Refusal::new(ErrorCode::TokenExpired, text));
    }
    Ok(identity)
}

impl Session {
    /// Why there is nothing to do in a stream that the viewer is no member of.
    pub(super) fn not_here(&self, topic: Option<TopicId>, stream: &str) -> Refusal<'static> {
        if topic.is_none() && self.streams.is_missing(stream, self.now) {
            Refusal::new(ErrorCode::StreamNotFound, "there is no such stream")
        } else {
            Refusal::new(ErrorCode::NotJoined, "join the stream first")
        }
    }

    /// Answers what is planned and not served yet.
    fn not_available(
        &mut self,
        connection: ConnectionId,
        stream_id: &StreamId,
        client_id: Option<&str>,
        out: &mut Vec<Output>,
    ) {
        self.stats.messages_unavailable += 1;
        let text = "this server does not do that yet";
        let refusal = Refusal::new(ErrorCode::NotAvailable, text)
            .of(client_id)
            .on(stream_id.as_str());
        self.refuse(connection, refusal, out);
    }
}
