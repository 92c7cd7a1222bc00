//! A publication on its way through admission: what its envelope says is read once.

use std::sync::Arc;

use chorus_protocol::backhaul::{REACTION_USERS_MAX, UserReactions};
use chorus_protocol::event::{AuthorRole, EVENT_BYTES_MAX};
use chorus_protocol::server::Reactions;
use chorus_protocol::stream::{Life, StreamInfo};
use chorus_protocol::{CommentId, Envelope, Region, StreamId, UserId, subject};

use super::ledger::Comment;
use super::rules::Rule;

/// Reaction types in one publication.
const TYPES_MAX: usize = 64;
/// The most one publication may add to a total.
const INCREMENT_MAX: u64 = 1 << 32;

/// What a PoP asks to be published.
#[derive(Debug)]
pub(in crate::gateway) struct Publication {
    /// The PoP's number for it.
    pub(in crate::gateway) request: u64,
    /// The log's message id.
    pub(in crate::gateway) key: u128,
    pub(in crate::gateway) stream: StreamId,
    pub(in crate::gateway) what: What,
    /// How its stream stands, once that was checked.
    pub(super) life: Option<Arc<Life>>,
}

#[derive(Debug)]
pub(in crate::gateway) enum What {
    Event(Event),
    /// Increments of reactions.
    Reactions {
        by: Reactions,
        users: Vec<UserReactions>,
        /// Whose counter it goes to; `None` is this region's.
        region: Option<Region>,
    },
}

#[derive(Debug)]
pub(in crate::gateway) struct Event {
    pub(in crate::gateway) id: CommentId,
    pub(in crate::gateway) author: UserId,
    pub(in crate::gateway) body: Vec<u8>,
    pub(super) role: AuthorRole,
    pub(super) target: Option<CommentId>,
    pub(super) rule: &'static Rule,
}

impl Publication {
    /// Reads an event's body; `None` when it is too long, no event, or of a kind without a rule.
    pub(in crate::gateway) fn read_event(request: u64, body: Vec<u8>) -> Option<Self> {
        if body.len() > EVENT_BYTES_MAX {
            return None;
        }
        let envelope = Envelope::read(&body)?;
        let rule = Rule::of(envelope.kind)?;
        if envelope.target.is_some() != rule.target.is_some() {
            return None;
        }
        let event = Event {
            id: envelope.id,
            author: envelope.author_id()?,
            role: envelope.role,
            target: envelope.target,
            rule,
            body: Vec::new(),
        };
        Some(Self {
            request,
            key: envelope.key,
            stream: envelope.stream_id()?,
            what: What::Event(Event { body, ..event }),
            life: None,
        })
    }

    /// Increments of reactions; `None` when no session would send them.
    pub(in crate::gateway) fn read_reactions(
        request: u64,
        key: u128,
        stream: StreamId,
        by: Reactions,
        users: Vec<UserReactions>,
        region: Option<Region>,
    ) -> Option<Self> {
        let fits = |by: &Reactions| {
            by.len() <= TYPES_MAX
                && by.iter().all(|(kind, by)| {
                    subject::is_reaction_type(kind) && (1..=INCREMENT_MAX).contains(by)
                })
        };
        let any = !by.is_empty() || !users.is_empty();
        let of_users = users.iter().all(|it| !it.by.is_empty() && fits(&it.by));
        (any && users.len() <= REACTION_USERS_MAX && fits(&by) && of_users).then_some(Self {
            request,
            key,
            stream,
            what: What::Reactions { by, users, region },
            life: None,
        })
    }

    /// Whose it is; `None` for increments of many.
    pub(super) fn user(&self) -> Option<&UserId> {
        match &self.what {
            What::Event(event) => Some(&event.author),
            What::Reactions { .. } => None,
        }
    }

    /// Whether its stream takes it after its end.
    pub(super) fn to_ended(&self) -> bool {
        matches!(&self.what, What::Event(event) if event.rule.to_ended)
    }
}

impl Event {
    /// What the limits are asked about it.
    pub(super) fn as_comment<'a>(&'a self, info: &'a StreamInfo, key: u128) -> Comment<'a> {
        Comment {
            user: &self.author,
            admin: self.role == AuthorRole::Admin,
            stream: &info.stream_id,
            key,
            slow_mode_ms: if self.role.moderates() {
                0
            } else {
                u64::from(info.settings.slow_mode_s) * 1_000
            },
        }
    }
}
