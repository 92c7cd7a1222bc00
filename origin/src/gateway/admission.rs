//! The one place before the log where a publication is let in or refused, for all PoPs of this gateway.
//!
//! [`rules`] says what is asked of each kind of event, [`checks`] asks it in order, [`ledger`] holds what users have used
//! of their limits: a session sees one shard, a PoP one machine. Today in memory, so a gateway decides for the PoPs that
//! are connected to it.

mod checks;
mod ledger;
mod publication;
mod rules;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use chorus_protocol::backhaul::UserReactions;
use chorus_protocol::rate::{CommentRefusal, UserLimits};
use chorus_protocol::server::Reactions;
use chorus_protocol::stream::Life;
use chorus_protocol::{StreamId, UserId};

pub(super) use self::checks::{Admitted, Checks, Found, LookUp};
use self::checks::{Away, Known};
use self::ledger::{Comment, Decision, Ledger};
pub(super) use self::publication::{Publication, What};
use super::directory::Directory;
use crate::config;
use crate::history::History;
use crate::lock::lock;
use crate::metrics::Metrics;

/// What the checks of all lanes ask.
pub(super) struct Admission {
    ledger: Mutex<Ledger>,
    since: Instant,
    directory: Directory,
    history: History,
    metrics: Arc<Metrics>,
}

impl Admission {
    pub(super) fn new(
        limits: &config::Limits,
        directory: Directory,
        history: History,
        metrics: Arc<Metrics>,
    ) -> Self {
        let users_max = limits.remembered_users_max;
        Self {
            ledger: Mutex::new(Ledger::new(UserLimits::from(limits), users_max)),
            since: Instant::now(),
            directory,
            history,
            metrics,
        }
    }

    /// Looks up what a check waits for.
    pub(super) async fn look_up(&self, what: &LookUp) -> Found {
        match what {
            LookUp::Stream(stream) => {
                let found = self.directory.find(stream).await;
                Found::Stream(found.map_err(|error| away(&error)))
            }
            LookUp::Author(stream, comment) => {
                let found = self.history.author(stream, *comment).await;
                Found::Author(found.map_err(|error| away(&error)))
            }
        }
    }

    /// A comment that was counted is certainly not stored, or was stored before.
    pub(super) fn comment_not_stored(&self, user: &UserId, key: u128) {
        self.with(|ledger, _| ledger.comment_not_stored(user, key));
    }

    /// A group of reactions that was counted is certainly not stored.
    pub(super) fn reactions_not_stored(&self, key: u128) {
        self.with(|ledger, _| ledger.reactions_not_stored(key));
    }

    fn with<T>(&self, decide: impl FnOnce(&mut Ledger, u64) -> T) -> T {
        let now_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut ledger = lock(&self.ledger);
        let decided = decide(&mut ledger, now_ms);
        let counts = ledger.take_counts();
        let users = ledger.users();
        drop(ledger);
        let metrics = &self.metrics;
        metrics.users_evicted.inc_by(counts.evicted);
        metrics.reactions_refused.inc_by(counts.reactions_refused);
        self.metrics
            .users_remembered
            .set(i64::try_from(users).unwrap_or(i64::MAX));
        decided
    }
}

impl Known for Admission {
    fn stream(&self, stream: &StreamId) -> Option<Option<Arc<Life>>> {
        self.directory.known(stream)
    }

    fn comment(&self, comment: &Comment<'_>) -> Result<bool, CommentRefusal> {
        let counted = self.with(|ledger, now_ms| ledger.comment(now_ms, comment));
        if let Err(refusal) = &counted {
            self.metrics.refuse(refusal.reason().as_str());
        }
        counted
    }

    fn reactions(
        &self,
        stream: &StreamId,
        key: u128,
        by: Reactions,
        users: Vec<UserReactions>,
    ) -> Arc<Decision> {
        self.with(|ledger, now_ms| ledger.reactions(now_ms, stream, key, by, users))
    }
}

fn away(error: &dyn std::error::Error) -> Away {
    tracing::debug!(%error, "a look-up for admission came to nothing");
    Away
}
