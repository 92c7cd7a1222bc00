//! The one place before the log where a publication is let in or refused, for all PoPs of this gateway.
//!
//! Limits of users hold here: a session sees one shard, a PoP one machine. Today in memory, so a gateway decides for
//! the PoPs that are connected to it.

mod ledger;
mod removal;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use chorus_protocol::backhaul::UserReactions;
use chorus_protocol::rate::{CommentRefusal, UserLimits};
use chorus_protocol::server::Reactions;
use chorus_protocol::{StreamId, UserId};

use self::ledger::Ledger;
pub(super) use self::ledger::{Comment, Decision};
pub(super) use self::removal::Removal;
use crate::config;
use crate::metrics::Metrics;

/// The ledger with a clock, for all lanes.
pub(super) struct Admission {
    ledger: Mutex<Ledger>,
    since: Instant,
    metrics: Arc<Metrics>,
}

impl Admission {
    pub(super) fn new(limits: &config::Limits, metrics: Arc<Metrics>) -> Self {
        let users_max = limits.remembered_users_max;
        Self {
            ledger: Mutex::new(Ledger::new(UserLimits::from(limits), users_max)),
            since: Instant::now(),
            metrics,
        }
    }

    /// Lets a comment in; true when it was counted, which [`Admission::comment_not_stored`] takes back.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn comment(&self, written: &Comment<'_>) -> Result<bool, CommentRefusal> {
        let let_in = self.with(|ledger, now_ms| ledger.comment(now_ms, written));
        if let Err(refusal) = &let_in {
            self.metrics.refuse(refusal.reason().as_str());
        }
        let_in
    }

    /// A comment that was counted is certainly not stored, or was stored before.
    pub(super) fn comment_not_stored(&self, user: &UserId, key: u128) {
        self.with(|ledger, _| ledger.comment_not_stored(user, key));
    }

    /// What of a group of reactions is let in: `by` whatever the limits, of `users` what theirs let in.
    pub(super) fn reactions(
        &self,
        stream: &StreamId,
        key: u128,
        by: Reactions,
        users: Vec<UserReactions>,
    ) -> Arc<Decision> {
        self.with(|ledger, now_ms| ledger.reactions(now_ms, stream, key, by, users))
    }

    /// A group of reactions that was counted is certainly not stored.
    pub(super) fn reactions_not_stored(&self, key: u128) {
        self.with(|ledger, _| ledger.reactions_not_stored(key));
    }

    fn with<T>(&self, decide: impl FnOnce(&mut Ledger, u64) -> T) -> T {
        let now_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut ledger = self.lock();
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

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
