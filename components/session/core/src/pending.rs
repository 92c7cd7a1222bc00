//! Decisions about comments on their way to the log, until it answers.

use std::collections::BTreeMap;

use chorus_protocol::{ClientId, CommentId, Millis, StreamId};
use serde::{Deserialize, Serialize};

use crate::io::{ConnectionId, RequestId};

/// A decision whose outcome is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// Who is told.
    pub(crate) connection: ConnectionId,
    pub(crate) stream: StreamId,
    /// The comment it is about.
    pub(crate) comment: CommentId,
    /// With one there is a receipt.
    #[serde(default)]
    pub(crate) client_id: Option<ClientId>,
    /// When it came.
    pub(crate) at: Millis,
    /// What is done, by the name of the action; until form 4 there was one, and no name.
    #[serde(default)]
    pub(crate) action: String,
}

/// The decisions that wait for the log. They are bounded together with the posts that do
/// (`Limits::posts_waiting_max`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PendingDecisions {
    /// Requests are numbered as they are made, so this is also the order in which they came.
    waiting: BTreeMap<RequestId, Pending>,
}

impl PendingDecisions {
    /// How many wait.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    /// Notes a decision handed to the log.
    pub(crate) fn publish(&mut self, request: RequestId, decision: Pending) {
        self.waiting.insert(request, decision);
    }

    /// Takes the decision that was answered; `None` when the request is none of a decision.
    pub(crate) fn answer(&mut self, request: RequestId) -> Option<Pending> {
        self.waiting.remove(&request)
    }

    /// Takes one that has waited for `unconfirmed_ms`.
    pub(crate) fn overdue(&mut self, now: Millis, unconfirmed_ms: u64) -> Option<Pending> {
        let first = self.waiting.first_entry()?;
        (now >= first.get().at.plus(unconfirmed_ms)).then(|| first.remove())
    }

    /// When the first will have waited too long.
    pub(crate) fn deadline(&self, unconfirmed_ms: u64) -> Option<u64> {
        let (_, first) = self.waiting.first_key_value()?;
        Some(first.at.plus(unconfirmed_ms).0)
    }
}
