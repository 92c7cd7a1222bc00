//! What users have used of their limits, over all PoPs of this gateway.
//!
//! Sans-IO; time is milliseconds handed in that never go back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use chorus_protocol::backhaul::{RefusedReactions, UserReactions};
use chorus_protocol::rate::{Charged, CommentRefusal, TIMES_MAX, UserLimits, UserUses};
use chorus_protocol::server::Reactions;
use chorus_protocol::{StreamId, UserId};

/// Keys of one user's comments remembered, so that a repeat costs nothing; the oldest goes. As many as a limit that is
/// exact lets in.
const KEYS_MAX: usize = TIMES_MAX as usize;
/// For how long: a comment counts no longer in any rate.
const KEYS_MS: u64 = 60_000;
/// Decisions on reactions remembered, one for each stream of each PoP's process; at the bound the oldest half goes, and
/// a repeat of one of those is counted again.
const DECISIONS_MAX: usize = 65_536;
/// For how long: no PoP repeats it any more.
const DECISIONS_MS: u64 = 600_000;
/// How often what counts no longer is looked for.
const SWEEP_MS: u64 = 30_000;

/// A comment to be let in.
#[derive(Clone, Copy, Debug)]
pub(in crate::gateway) struct Comment<'a> {
    pub(in crate::gateway) user: &'a UserId,
    /// One of the platform's own services: no rate holds it.
    pub(in crate::gateway) admin: bool,
    pub(in crate::gateway) stream: &'a StreamId,
    /// The log's message id.
    pub(in crate::gateway) key: u128,
    /// The stream's, 0 for those whom it does not hold.
    pub(in crate::gateway) slow_mode_ms: u64,
}

/// What of a group of reactions is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Decision {
    /// By how much each type grows.
    pub(in crate::gateway) by: Reactions,
    /// What is not.
    pub(in crate::gateway) refused: Vec<RefusedReactions>,
    /// Whose was counted, under which time and how many.
    charged: Vec<(UserId, u64, u64)>,
}

#[derive(Debug)]
struct Key {
    key: u128,
    at_ms: u64,
    stream: StreamId,
    charged: Charged,
}

#[derive(Debug, Default)]
struct User {
    uses: UserUses<StreamId>,
    /// The oldest first.
    keys: VecDeque<Key>,
}

impl User {
    fn forget_keys(&mut self, now_ms: u64) {
        while let Some(key) = self.keys.front()
            && (self.keys.len() > KEYS_MAX || key.at_ms + KEYS_MS <= now_ms)
        {
            self.keys.pop_front();
        }
    }
}

#[derive(Debug)]
struct Decided {
    key: u128,
    at_ms: u64,
    decision: Arc<Decision>,
}

/// What metrics want to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Users that were forgotten early.
    pub(super) evicted: u64,
    /// Reactions that were refused, each once.
    pub(super) reactions_refused: u64,
}

#[derive(Debug)]
pub(super) struct Ledger {
    limits: UserLimits,
    users: HashMap<UserId, User>,
    /// Users remembered; at the bound those who are free of all limits soonest go.
    users_max: usize,
    counts: Counts,
    /// By process (the upper half of the key) and stream: a PoP has one group of a stream under way at a time.
    decided: HashMap<(u64, StreamId), Decided>,
    sweep_at_ms: u64,
}

impl Ledger {
    pub(super) fn new(limits: UserLimits, users_max: usize) -> Self {
        Self {
            limits,
            users: HashMap::new(),
            users_max,
            counts: Counts::default(),
            decided: HashMap::new(),
            sweep_at_ms: 0,
        }
    }

    pub(super) fn users(&self) -> usize {
        self.users.len()
    }

    /// What happened since the last time.
    pub(super) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// True: let in and counted; false: let in and not counted, as it was before or is held by no rate.
    pub(super) fn comment(
        &mut self,
        now_ms: u64,
        written: &Comment<'_>,
    ) -> Result<bool, CommentRefusal> {
        let Comment {
            user,
            admin,
            stream,
            key,
            slow_mode_ms,
        } = *written;
        if admin {
            return Ok(false);
        }
        let limits = self.limits;
        let known = self.user(user, now_ms);
        known.forget_keys(now_ms);
        if known.keys.iter().any(|it| it.key == key) {
            return Ok(false);
        }
        known
            .uses
            .check_comment(&limits, stream, slow_mode_ms, now_ms)?;
        let charged = known.uses.charge_comment(&limits, stream, now_ms);
        known.keys.push_back(Key {
            key,
            at_ms: now_ms,
            stream: stream.clone(),
            charged,
        });
        Ok(true)
    }

    pub(super) fn comment_not_stored(&mut self, user: &UserId, key: u128) {
        if let Some(known) = self.users.get_mut(user)
            && let Some(place) = known.keys.iter().position(|it| it.key == key)
            && let Some(Key {
                stream, charged, ..
            }) = known.keys.remove(place)
        {
            known.uses.give_back_comment(&self.limits, &stream, charged);
        }
    }

    /// The same key again gets the same decision: the log takes each type of it once.
    pub(super) fn reactions(
        &mut self,
        now_ms: u64,
        stream: &StreamId,
        key: u128,
        by: Reactions,
        users: Vec<UserReactions>,
    ) -> Arc<Decision> {
        if users.is_empty() {
            return Arc::new(Decision {
                by,
                ..Decision::default()
            });
        }
        let place = ((key >> 64) as u64, stream.clone());
        if let Some(decided) = self.decided.get(&place)
            && decided.key == key
        {
            return Arc::clone(&decided.decision);
        }
        let mut decision = Decision {
            by,
            ..Decision::default()
        };
        for of_user in users {
            self.react(now_ms, of_user, &mut decision);
        }
        let decision = Arc::new(decision);
        if self.decided.len() >= DECISIONS_MAX && !self.decided.contains_key(&place) {
            self.forget_decisions();
        }
        let decided = Decided {
            key,
            at_ms: now_ms,
            decision: Arc::clone(&decision),
        };
        self.decided.insert(place, decided);
        decision
    }

    pub(super) fn reactions_not_stored(&mut self, key: u128) {
        let Some((place, _)) = self.decided.iter().find(|(_, it)| it.key == key) else {
            return;
        };
        let place = place.clone();
        let Some(decided) = self.decided.remove(&place) else {
            return;
        };
        for (user, at_ms, count) in &decided.decision.charged {
            if let Some(known) = self.users.get_mut(user) {
                known.uses.give_back_reactions(&self.limits, *at_ms, *count);
            }
        }
    }

    /// Adds what the user's limit lets in to a decision.
    fn react(&mut self, now_ms: u64, of_user: UserReactions, decision: &mut Decision) {
        let UserReactions { user, by } = of_user;
        let limits = self.limits;
        let known = self.user(&user, now_ms);
        let mut room = known.uses.reactions_room(&limits, now_ms);
        let (mut let_in, mut count) = (0, 0);
        for (kind, by) in by {
            let part = by.min(room);
            room -= part;
            let_in += part;
            count += by - part;
            if part > 0 {
                let total = decision.by.entry(kind).or_default();
                *total = total.saturating_add(part);
            }
        }
        if let_in > 0 {
            let at_ms = known.uses.charge_reactions(&limits, now_ms, let_in);
            decision.charged.push((user.clone(), at_ms, let_in));
        }
        if count > 0 {
            let next = known.uses.check_reactions(&limits, now_ms, 1);
            self.counts.reactions_refused += count;
            decision.refused.push(RefusedReactions {
                user,
                count,
                retry_after_ms: next.err().unwrap_or(0),
            });
        }
    }

    fn user(&mut self, user: &UserId, now_ms: u64) -> &mut User {
        if now_ms >= self.sweep_at_ms {
            self.sweep_at_ms = now_ms + SWEEP_MS;
            self.sweep(now_ms);
        }
        if self.users.len() >= self.users_max && !self.users.contains_key(user) {
            self.make_room(now_ms);
        }
        self.users.entry(user.clone()).or_default()
    }

    fn sweep(&mut self, now_ms: u64) {
        let limits = self.limits;
        self.users
            .retain(|_, user| user.uses.free_at_ms(&limits) > now_ms);
        self.decided
            .retain(|_, decided| decided.at_ms + DECISIONS_MS > now_ms);
    }

    /// Forgets users until an eighth of the places is free: first those of whom nothing counts any more, then those
    /// whose uses end soonest. Work for many at once, so that not every newcomer costs it.
    fn make_room(&mut self, now_ms: u64) {
        self.sweep(now_ms);
        let stay = self.users_max - (self.users_max / 8).max(1);
        let Some(more) = self.users.len().checked_sub(stay).filter(|more| *more > 0) else {
            return;
        };
        let free_at = |(user, known): (&UserId, &User)| {
            let at = known.uses.free_at_ms(&self.limits);
            (at, user.clone())
        };
        let mut all: Vec<(u64, UserId)> = self.users.iter().map(free_at).collect();
        all.sort_unstable();
        for (_, user) in &all[..more] {
            self.users.remove(user);
        }
        self.counts.evicted += more as u64;
    }

    fn forget_decisions(&mut self) {
        let mut times: Vec<u64> = self.decided.values().map(|it| it.at_ms).collect();
        let middle = times.len() / 2;
        let (_, &mut median, _) = times.select_nth_unstable(middle);
        self.decided.retain(|_, decided| decided.at_ms > median);
    }
}

#[cfg(test)]
mod tests;
