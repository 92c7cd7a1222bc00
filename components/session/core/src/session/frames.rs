//! A client's message: counted, read, handed on.

use chorus_protocol::client::{ClientMessage, Echo, PostView, ReactView};
use chorus_protocol::codec::{Hot, decode_client, decode_hot};
use chorus_protocol::codes::{CloseCode, ErrorCode};
use chorus_protocol::{DecodeError, Encoding, StreamId};

use super::Session;
use super::replies::{Refusal, send};
use crate::encode;
use crate::io::{ConnectionId, Output};

/// What checking a token costs of the message bucket: a signature is the dearest thing a client can ask for.
const AUTHENTICATE_COST: u64 = 10;

impl Session {
    pub(crate) fn frame(&mut self, connection: ConnectionId, data: &[u8], out: &mut Vec<Output>) {
        let Some(encoding) = self.encoding(connection) else {
            return;
        };
        let Some(hot) = decode_hot(encoding, data) else {
            self.any_frame(connection, encoding, data, out);
            return;
        };
        if !self.charge(connection, 1, out) {
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
        let decoded = decode_client(encoding, data);
        let cost = match decoded {
            Ok(ClientMessage::Authenticate { .. }) => AUTHENTICATE_COST,
            _ => 1,
        };
        if !self.charge(connection, cost, out) {
            return;
        }
        match decoded {
            Ok(message) => self.message(connection, message, out),
            Err(DecodeError::UnknownType(kind)) => {
                self.stats.messages_unknown += 1;
                let text = format!("unknown message type `{kind}`");
                self.refuse(connection, Refusal::new(ErrorCode::UnknownType, &text), out);
            }
            Err(DecodeError::Malformed { message, client_id }) => {
                self.stats.messages_malformed += 1;
                // Only a key that could be one of ours is repeated.
                let client_id = client_id.filter(|id| chorus_protocol::ClientId::new(id).is_ok());
                let refusal =
                    Refusal::new(ErrorCode::InvalidMessage, &message).of(client_id.as_deref());
                self.refuse(connection, refusal, out);
            }
        }
    }

    /// Charges the connection's bucket; one that is empty costs it the connection. The platform's own services have
    /// no rates.
    fn charge(&mut self, connection: ConnectionId, cost: u64, out: &mut Vec<Output>) -> bool {
        let Some(conn) = self.conns.get_mut(&connection) else {
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

    fn message(
        &mut self,
        connection: ConnectionId,
        message: ClientMessage<Echo<'_>>,
        out: &mut Vec<Output>,
    ) {
        match message {
            ClientMessage::Authenticate { token } => self.authenticate(connection, &token, out),
            ClientMessage::JoinStream { stream_id, resume } => {
                self.join(connection, &stream_id, resume.as_deref(), out);
            }
            ClientMessage::LeaveStream { stream_id } => self.leave(connection, &stream_id, out),
            ClientMessage::PostComment(post) => {
                self.post(connection, &PostView::from(&post), out);
            }
            ClientMessage::React {
                stream_id,
                reaction_type,
                comment_id: None,
                count,
            } => {
                let react = ReactView {
                    stream_id: stream_id.as_str(),
                    reaction_type: &reaction_type,
                    count,
                };
                self.react(connection, react, out);
            }
            ClientMessage::DeleteComment {
                stream_id,
                comment_id,
                client_id,
            } => self.delete_comment(connection, &stream_id, comment_id, client_id, out),
            ClientMessage::Moderate {
                stream_id,
                client_id,
                ..
            } => self.not_available(connection, &stream_id, Some(client_id.as_str()), out),
            ClientMessage::React { stream_id, .. }
            | ClientMessage::Unreact { stream_id, .. }
            | ClientMessage::Report { stream_id, .. } => {
                self.not_available(connection, &stream_id, None, out);
            }
            ClientMessage::Ping(echo) => self.pong(connection, echo, out),
        }
    }

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

    fn pong(&self, connection: ConnectionId, echo: Option<Echo<'_>>, out: &mut Vec<Output>) {
        if let Some(encoding) = self.encoding(connection) {
            out.push(send(connection, encode::pong(encoding, echo)));
        }
    }
}
