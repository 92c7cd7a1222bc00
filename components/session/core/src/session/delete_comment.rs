//! `delete_comment`: who may ask for it, what goes to the log, and what becomes of it.
//!
//! Whether a viewer wrote the comment is not known here: the gateway looks it up and refuses. What viewers see changes
//! when the log delivers the removal, see `delivery.rs`.

use chorus_protocol::codes::{ErrorCode, Reason, RemovalReason};
use chorus_protocol::event::{AuthorRole, RemovalRecord, decision_key, kind};
use chorus_protocol::server::ReceiptStatus;
use chorus_protocol::{ClientId, CommentId, Envelope, Outcome, StreamId};

use super::Session;
use super::posting::UNAVAILABLE_RETRY_MS;
use super::replies::Refusal;
use crate::commands::Command;
use crate::conn::Standing;
use crate::encode::ReceiptOut;
use crate::io::{ConnectionId, Output, RequestId};

impl Session {
    pub(crate) fn delete_comment(
        &mut self,
        connection: ConnectionId,
        stream_id: &StreamId,
        comment: CommentId,
        client_id: Option<ClientId>,
        out: &mut Vec<Output>,
    ) {
        let key = client_id.clone();
        if let Err(refusal) = self.try_delete(connection, stream_id, comment, client_id, out) {
            self.stats.commands_refused += 1;
            let refusal = refusal
                .of(key.as_ref().map(ClientId::as_str))
                .on(stream_id.as_str());
            self.refuse(connection, refusal, out);
        }
    }

    fn try_delete(
        &mut self,
        connection: ConnectionId,
        stream_id: &StreamId,
        comment: CommentId,
        client_id: Option<ClientId>,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal<'static>> {
        let now = self.now;
        let Some(conn) = self.conns.get(&connection) else {
            return Ok(());
        };
        let Some(identity) = conn.identity.as_deref() else {
            let text = "a token is needed to take a comment away";
            return Err(Refusal::new(ErrorCode::Unauthenticated, text));
        };
        if identity.expires <= now {
            return Err(Refusal::new(
                ErrorCode::TokenExpired,
                "the token has expired",
            ));
        }
        let topic = self.topics.get(stream_id).copied();
        let joined = topic.and_then(|topic| conn.membership(topic));
        let live = joined.and_then(|join| self.streams.get(&join.topic)?.live.as_deref());
        let Some(live) = live else {
            return Err(if topic.is_none() && self.is_missing(stream_id.as_str()) {
                Refusal::new(ErrorCode::StreamNotFound, "there is no such stream")
            } else {
                Refusal::new(ErrorCode::NotJoined, "the stream is not joined")
            });
        };
        let role = Standing::of(identity, &live.info.broadcaster_id).role();
        let unavailable = Refusal::new(ErrorCode::Unavailable, "it cannot be done now")
            .retry_after(UNAVAILABLE_RETRY_MS);
        if self.too_many_wait() {
            return Err(unavailable);
        }
        let id = self.mint.next(now, self.config.values.shard);
        let id = id.ok_or(unavailable)?;
        let envelope = Envelope {
            id,
            kind: kind::REMOVAL,
            stream: stream_id.as_str(),
            author: identity.user.as_str(),
            role,
            key: decision_key(stream_id, kind::REMOVAL, comment, ""),
            target: Some(comment),
            record: b"",
        };
        let event = envelope.write_record(&RemovalRecord::new(if role == AuthorRole::User {
            RemovalReason::Author
        } else {
            RemovalReason::Moderator
        }));
        let request = self.next_request;
        self.next_request += 1;
        out.push(Output::Publish { request, event });
        let command = Command {
            connection,
            stream: stream_id.clone(),
            comment,
            client_id,
            at: now,
        };
        self.commands.publish(request, command);
        self.stats.commands_published += 1;
        self.wait_for_posts();
        Ok(())
    }

    /// The log's answer to a decision.
    pub(crate) fn command_answered(
        &mut self,
        request: RequestId,
        outcome: Outcome,
        out: &mut Vec<Output>,
    ) {
        let Some(command) = self.commands.answer(request) else {
            return;
        };
        self.wait_for_posts();
        match outcome {
            // Without a key it is told by `comments_removed`.
            Outcome::Stored { .. } => {
                if let Some(client_id) = &command.client_id {
                    let receipt = ReceiptOut {
                        comment_id: Some(command.comment),
                        ..ReceiptOut::new(client_id.as_str(), ReceiptStatus::Applied)
                    };
                    self.send_receipt(command.connection, &receipt, out);
                }
            }
            Outcome::Refused {
                reason,
                retry_after_ms,
            } => {
                self.stats.commands_refused += 1;
                self.command_refused(&command, &reason, retry_after_ms, out);
            }
            Outcome::Unknown => self.command_unconfirmed(&command, out),
        }
    }

    fn command_refused(
        &self,
        command: &Command,
        reason: &str,
        retry_after_ms: Option<u64>,
        out: &mut Vec<Output>,
    ) {
        let error = match Reason::parse(reason) {
            Some(Reason::Forbidden) => {
                let text = "this user may not take the comment away";
                Refusal::new(ErrorCode::Forbidden, text)
            }
            Some(Reason::CommentNotFound) => {
                let text = "the stream has no such comment";
                Refusal::new(ErrorCode::CommentNotFound, text)
            }
            _ => {
                if let Some(client_id) = &command.client_id {
                    let receipt = ReceiptOut {
                        reason: Some(reason),
                        retry_after_ms,
                        ..ReceiptOut::new(client_id.as_str(), ReceiptStatus::Rejected)
                    };
                    self.send_receipt(command.connection, &receipt, out);
                    return;
                }
                let code = ErrorCode::parse(reason).unwrap_or(ErrorCode::Unavailable);
                Refusal {
                    retry_after_ms,
                    ..Refusal::new(code, "the comment was not taken away")
                }
            }
        };
        self.command_error(command, error, out);
    }

    fn command_unconfirmed(&mut self, command: &Command, out: &mut Vec<Output>) {
        self.stats.commands_unconfirmed += 1;
        let text = "whether the comment is taken away is not known; send it again";
        self.command_error(command, Refusal::new(ErrorCode::Unconfirmed, text), out);
    }

    fn command_error<'a>(&self, command: &'a Command, refusal: Refusal<'a>, out: &mut Vec<Output>) {
        let client_id = command.client_id.as_ref().map(ClientId::as_str);
        let refusal = refusal.of(client_id).on(command.stream.as_str());
        self.refuse(command.connection, refusal, out);
    }

    /// Decisions that waited too long.
    pub(crate) fn commands_due(&mut self, out: &mut Vec<Output>) {
        let unconfirmed_ms = self.config.values.limits.unconfirmed_ms;
        while let Some(command) = self.commands.overdue(self.now, unconfirmed_ms) {
            self.command_unconfirmed(&command, out);
        }
    }
}
