//! Decisions about comments: the table of what may be done, what goes to the log, and what becomes of it.
//!
//! What viewers see changes when the log delivers the decision, see `delivery.rs`.

use chorus_protocol::codes::{ErrorCode, Reason, RemovalReason};
use chorus_protocol::event::{CommentUpdate, RemovalRecord, decision_key, kind};
use chorus_protocol::server::ReceiptStatus;
use chorus_protocol::{ClientId, CommentId, Envelope, Outcome, StreamId};

use super::Session;
use super::commands::{UNAVAILABLE_RETRY_MS, identity};
use super::replies::Refusal;
use crate::conn::Standing;
use crate::encode::ReceiptOut;
use crate::io::{ConnectionId, Output, RequestId};
use crate::pending::Pending;

/// Something that may be decided about a comment.
pub(super) struct Action {
    /// As `moderate` names it.
    name: &'static str,
    /// The kind of its event.
    kind: &'static str,
    /// Whoever asks for it asks for the same; else each key of a user is a decision of its own.
    once: bool,
    /// The event's body around the record; the envelope says who decides.
    body: fn(&Envelope<'_>) -> Vec<u8>,
    words: Words,
}

/// How errors speak of an action.
#[derive(Clone, Copy)]
struct Words {
    /// As in "may not take the comment away".
    act: &'static str,
    /// As in "the comment was not taken away".
    done: &'static str,
}

/// The actions of `moderate`.
const ACTIONS: &[&Action] = &[&REMOVE, &HIGHLIGHT, &UNHIGHLIGHT];

/// The comment is taken away, for everybody and for good.
pub(super) const REMOVE: Action = Action {
    name: "remove",
    kind: kind::REMOVAL,
    once: true,
    body: |envelope| {
        envelope.write_record(&RemovalRecord::new(if envelope.role.moderates() {
            RemovalReason::Moderator
        } else {
            RemovalReason::Author
        }))
    },
    words: Words {
        act: "take the comment away",
        done: "taken away",
    },
};

const HIGHLIGHT: Action = Action {
    name: "highlight",
    kind: kind::UPDATE,
    once: false,
    body: |envelope| envelope.write_record(&highlighted(true)),
    words: Words {
        act: "highlight comments",
        done: "highlighted",
    },
};

const UNHIGHLIGHT: Action = Action {
    name: "unhighlight",
    kind: kind::UPDATE,
    once: false,
    body: |envelope| envelope.write_record(&highlighted(false)),
    words: Words {
        act: "end a comment's highlight",
        done: "without its highlight",
    },
};

fn highlighted(highlighted: bool) -> CommentUpdate {
    CommentUpdate {
        highlighted: Some(highlighted),
        ..CommentUpdate::default()
    }
}

/// Of an action that a neighbouring version asked for.
const OTHER_WORDS: Words = Words {
    act: "do that to the comment",
    done: "changed",
};

impl Action {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        ACTIONS.iter().find(|action| action.name == name).copied()
    }
}

impl Pending {
    fn words(&self) -> Words {
        // Until form 4 of the snapshot there was only the removal, and no name.
        if self.action.is_empty() {
            return REMOVE.words;
        }
        Action::named(&self.action).map_or(OTHER_WORDS, |action| action.words)
    }
}

/// Who asks for what.
pub(super) struct Asked {
    pub(super) connection: ConnectionId,
    pub(super) stream: StreamId,
    /// The comment it is about.
    pub(super) comment: CommentId,
    /// With one there is a receipt.
    pub(super) client_id: Option<ClientId>,
    /// Who does not moderate the stream is refused here; else the gateway decides.
    pub(super) moderators_only: bool,
}

impl Session {
    /// Hands a decision to the log, or refuses it.
    pub(super) fn decide(&mut self, action: &Action, asked: Asked, out: &mut Vec<Output>) {
        if let Err(refusal) = self.try_decide(action, &asked, out) {
            self.stats.commands_refused += 1;
            let refusal = refusal
                .of(asked.client_id.as_ref().map(ClientId::as_str))
                .on(asked.stream.as_str());
            self.refuse(asked.connection, refusal, out);
        }
    }

    fn try_decide(
        &mut self,
        action: &Action,
        asked: &Asked,
        out: &mut Vec<Output>,
    ) -> Result<(), Refusal<'static>> {
        let now = self.now;
        let stream = &asked.stream;
        let Some(conn) = self.conns.get(asked.connection) else {
            return Ok(());
        };
        let identity = identity(conn, now, action.words.act)?;
        let topic = self.streams.topic(stream.as_str());
        let joined = topic.filter(|&topic| conn.membership(topic).is_some());
        let Some(live) = joined.and_then(|topic| self.streams.live(topic)) else {
            return Err(self.not_here(topic, stream.as_str()));
        };
        let role = Standing::of(identity, &live.info.broadcaster_id).role();
        if asked.moderators_only && !role.moderates() {
            return Err(forbidden(action.words));
        }
        let unavailable = Refusal::new(ErrorCode::Unavailable, "it cannot be done now")
            .retry_after(UNAVAILABLE_RETRY_MS);
        if self.too_many_wait() {
            return Err(unavailable);
        }
        let id = self.posts.mint(now, self.config.values.shard);
        let id = id.ok_or(unavailable)?;
        let what = match &asked.client_id {
            Some(client_id) if !action.once => format!("{}\n{client_id}", identity.user),
            _ => String::new(),
        };
        let envelope = Envelope {
            id,
            kind: action.kind,
            stream: stream.as_str(),
            author: identity.user.as_str(),
            role,
            key: decision_key(stream, action.kind, asked.comment, &what),
            target: Some(asked.comment),
            record: b"",
        };
        let event = (action.body)(&envelope);
        let request = self.numbers.request();
        out.push(Output::Publish {
            request,
            connection: asked.connection,
            event,
        });
        let pending = Pending {
            connection: asked.connection,
            stream: stream.clone(),
            comment: asked.comment,
            client_id: asked.client_id.clone(),
            at: now,
            action: action.name.to_owned(),
        };
        self.posts.decisions().publish(request, pending);
        self.stats.commands_published += 1;
        self.wait_for_posts();
        Ok(())
    }

    /// The log's answer to a decision.
    pub(super) fn decision_answered(
        &mut self,
        request: RequestId,
        outcome: Outcome,
        out: &mut Vec<Output>,
    ) {
        let Some(pending) = self.posts.decisions().answer(request) else {
            return;
        };
        self.wait_for_posts();
        match outcome {
            // Without a key it is told by what viewers are told.
            Outcome::Stored { .. } => {
                if let Some(client_id) = &pending.client_id {
                    let receipt = ReceiptOut {
                        comment_id: Some(pending.comment),
                        ..ReceiptOut::new(client_id.as_str(), ReceiptStatus::Applied)
                    };
                    self.send_receipt(pending.connection, &receipt, out);
                }
            }
            Outcome::Refused {
                reason,
                retry_after_ms,
            } => {
                self.stats.commands_refused += 1;
                self.decision_refused(&pending, &reason, retry_after_ms, out);
            }
            Outcome::Unknown => self.decision_unconfirmed(&pending, out),
        }
    }

    fn decision_refused(
        &self,
        pending: &Pending,
        reason: &str,
        retry_after_ms: Option<u64>,
        out: &mut Vec<Output>,
    ) {
        let error = match (Reason::parse(reason), &pending.client_id) {
            (Some(Reason::Forbidden), _) => forbidden(pending.words()),
            (Some(Reason::CommentNotFound), _) => {
                let text = "the stream has no such comment";
                Refusal::new(ErrorCode::CommentNotFound, text)
            }
            (_, Some(client_id)) => {
                let receipt = ReceiptOut {
                    reason: Some(reason),
                    retry_after_ms,
                    ..ReceiptOut::new(client_id.as_str(), ReceiptStatus::Rejected)
                };
                self.send_receipt(pending.connection, &receipt, out);
                return;
            }
            (_, None) => {
                let code = ErrorCode::parse(reason).unwrap_or(ErrorCode::Unavailable);
                let text = format!("the comment was not {}", pending.words().done);
                Refusal {
                    retry_after_ms,
                    ..Refusal::new(code, text)
                }
            }
        };
        self.decision_error(pending, error, out);
    }

    fn decision_unconfirmed(&mut self, pending: &Pending, out: &mut Vec<Output>) {
        self.stats.commands_unconfirmed += 1;
        let text = format!(
            "whether the comment is {} is not known; send it again",
            pending.words().done
        );
        self.decision_error(pending, Refusal::new(ErrorCode::Unconfirmed, text), out);
    }

    fn decision_error<'a>(
        &self,
        pending: &'a Pending,
        refusal: Refusal<'a>,
        out: &mut Vec<Output>,
    ) {
        let client_id = pending.client_id.as_ref().map(ClientId::as_str);
        let refusal = refusal.of(client_id).on(pending.stream.as_str());
        self.refuse(pending.connection, refusal, out);
    }

    /// Decisions that waited too long.
    pub(super) fn decisions_due(&mut self, out: &mut Vec<Output>) {
        let unconfirmed_ms = self.config.values.limits.unconfirmed_ms;
        while let Some(pending) = self.posts.decisions().overdue(self.now, unconfirmed_ms) {
            self.decision_unconfirmed(&pending, out);
        }
    }
}

fn forbidden(words: Words) -> Refusal<'static> {
    let text = format!("this user may not {}", words.act);
    Refusal::new(ErrorCode::Forbidden, text)
}
