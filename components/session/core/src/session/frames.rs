//! A client's message: read, charged, handed to its command.

use chorus_protocol::codec::{Hot, Incoming, ReadError, decode_hot};
use chorus_protocol::codes::{CloseCode, ErrorCode};
use chorus_protocol::{ClientId, Encoding};

use super::replies::Refusal;
use super::{Session, commands};
use crate::io::{ConnectionId, Output};

/// How much of a peer's own text an error repeats.
const ECHO_CHARS_MAX: usize = 64;

impl Session {
    pub(crate) fn frame(&mut self, connection: ConnectionId, data: &[u8], out: &mut Vec<Output>) {
        let Some(encoding) = self.conns.encoding(connection) else {
            return;
        };
        let Some(hot) = decode_hot(encoding, data) else {
            self.any_frame(connection, encoding, data, out);
            return;
        };
        if !self.charge(connection, commands::COST, out) {
            return;
        }
        match hot {
            Hot::PostComment(post) => self.post(connection, &post, out),
            Hot::React(react) => self.react(connection, react, out),
        }
    }

    /// What is not read in one pass.
    fn any_frame(
        &mut self,
        connection: ConnectionId,
        encoding: Encoding,
        data: &[u8],
        out: &mut Vec<Output>,
    ) {
        let read = Incoming::read(encoding, data);
        let command = read.as_ref().ok().map(|read| commands::named(read.kind()));
        let cost = command.flatten().map_or(commands::COST, |it| it.cost);
        if !self.charge(connection, cost, out) {
            return;
        }
        let incoming = match read {
            Ok(incoming) => incoming,
            Err(error) => return self.malformed(connection, &error, None, out),
        };
        let Some(command) = command.flatten() else {
            self.stats.messages_unknown += 1;
            let kind: String = incoming.kind().chars().take(ECHO_CHARS_MAX).collect();
            let text = format!("unknown message type `{kind}`");
            self.refuse(connection, Refusal::new(ErrorCode::UnknownType, text), out);
            return;
        };
        if let Err(error) = (command.run)(self, connection, &incoming, out) {
            // Only a key that could be one of ours is repeated.
            let fields = incoming.fields().ok();
            let client_id: Option<ClientId> = fields.and_then(|it| it.id("client_id").ok());
            self.malformed(connection, &error, client_id.as_ref(), out);
        }
    }

    fn malformed(
        &mut self,
        connection: ConnectionId,
        error: &ReadError,
        client_id: Option<&ClientId>,
        out: &mut Vec<Output>,
    ) {
        self.stats.messages_malformed += 1;
        let refusal = Refusal::new(ErrorCode::InvalidMessage, error.to_string());
        let refusal = refusal.of(client_id.map(ClientId::as_str));
        self.refuse(connection, refusal, out);
    }

    /// Charges the connection's bucket; one that is empty costs it the connection. The platform's own services have
    /// no rates.
    fn charge(&mut self, connection: ConnectionId, cost: u64, out: &mut Vec<Output>) -> bool {
        let Some(conn) = self.conns.get_mut(connection) else {
            return false;
        };
        if conn.is_admin(self.now) {
            return true;
        }
        match self
            .config
            .messages
            .check(conn.messages_us, self.now.0, cost)
        {
            Ok(after) => {
                conn.messages_us = after;
                true
            }
            Err(_) => {
                self.stats.flood_closed += 1;
                self.close(connection, CloseCode::TooMany, "too many messages", out);
                false
            }
        }
    }
}
