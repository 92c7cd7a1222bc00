//! Messages to one connection, and its end.

use std::borrow::Cow;

use chorus_protocol::codec;
use chorus_protocol::codes::{CloseCode, ErrorCode};
use chorus_protocol::server::ServerMessage;

use super::Session;
use crate::encode::{ErrorOut, ReceiptOut, message};
use crate::io::{ConnectionId, Output};
use crate::timers::Timer;

/// A reply to one connection, to be encoded for it.
#[derive(Clone, Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) code: ErrorCode,
    pub(crate) message: Cow<'a, str>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) stream_id: Option<&'a str>,
    pub(crate) retry_after_ms: Option<u64>,
}

impl<'a> Refusal<'a> {
    pub(crate) fn new(code: ErrorCode, message: impl Into<Cow<'a, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            client_id: None,
            stream_id: None,
            retry_after_ms: None,
        }
    }

    pub(crate) fn of(self, client_id: Option<&'a str>) -> Self {
        Self { client_id, ..self }
    }

    /// It speaks of this stream.
    pub(crate) fn on(self, stream_id: &'a str) -> Self {
        Self {
            stream_id: Some(stream_id),
            ..self
        }
    }

    pub(crate) fn retry_after(self, ms: u64) -> Self {
        Self {
            retry_after_ms: Some(ms),
            ..self
        }
    }
}

pub(crate) fn send(connection: ConnectionId, head: Vec<u8>) -> Output {
    whole(connection, head, false)
}

/// A message that more will follow soon, most likely: it need not have a packet of its own.
pub(crate) fn send_patiently(connection: ConnectionId, head: Vec<u8>) -> Output {
    whole(connection, head, true)
}

fn whole(connection: ConnectionId, head: Vec<u8>, patient: bool) -> Output {
    Output::Send {
        connection,
        head,
        blob: None,
        tail: Vec::new(),
        patient,
    }
}

impl Session {
    pub(crate) fn refuse(
        &self,
        connection: ConnectionId,
        refusal: Refusal<'_>,
        out: &mut Vec<Output>,
    ) {
        let Some(encoding) = self.conns.encoding(connection) else {
            return;
        };
        let Refusal {
            code,
            message: text,
            client_id,
            stream_id,
            retry_after_ms,
        } = refusal;
        let payload = ErrorOut {
            code,
            message: &text,
            client_id,
            stream_id,
            retry_after_ms,
        };
        out.push(send(connection, message(encoding, "error", &payload)));
    }

    /// A message that is written rarely.
    pub(crate) fn tell(
        &self,
        connection: ConnectionId,
        message: &ServerMessage,
        out: &mut Vec<Output>,
    ) {
        let Some(encoding) = self.conns.encoding(connection) else {
            return;
        };
        let mut data = Vec::new();
        if codec::encode(encoding, message, &mut data).is_ok() {
            out.push(send(connection, data));
        }
    }

    pub(crate) fn send_receipt(
        &self,
        connection: ConnectionId,
        receipt: &ReceiptOut<'_>,
        out: &mut Vec<Output>,
    ) {
        if let Some(encoding) = self.conns.encoding(connection) {
            out.push(send(connection, receipt.message(encoding)));
        }
    }

    pub(crate) fn close(
        &mut self,
        connection: ConnectionId,
        code: CloseCode,
        reason: &str,
        out: &mut Vec<Output>,
    ) {
        if self.conns.get(connection).is_some() {
            out.push(Output::Close {
                connection,
                code: code.number(),
                reason: reason.to_owned(),
            });
            self.forget(connection);
        }
    }

    /// The connection is gone.
    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        let Some(conn) = self.conns.remove(connection) else {
            return;
        };
        self.timers.set(Timer::Connection(connection), None);
        if let Some(identity) = &conn.identity {
            self.present.went(&identity.user);
        }
        for membership in &conn.joins {
            self.absent(membership, conn.encoding);
        }
    }
}
