//! What users have used up here: the local tier of the rate limits. The gateway's holds over all shards and PoPs.

use chorus_protocol::UserId;
use chorus_protocol::rate::{UserLimits, UserUses};

use crate::io::{ConnectionId, TopicId};
use crate::keyed::{Keyed, Map};

/// What one user used here.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Used {
    pub(crate) uses: UserUses<TopicId>,
    /// The connection that reacted last: it is told of reactions that were not added.
    #[serde(default)]
    pub(crate) reacted: Option<ConnectionId>,
}

/// The users a shard remembers.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    by_id: Map<UserId, Used>,
}

impl Users {
    pub(crate) fn new(keyed: &Keyed) -> Self {
        Self { by_id: keyed.map() }
    }

    pub(crate) fn get(&self, user: &UserId) -> Option<&Used> {
        self.by_id.get(user)
    }

    pub(crate) fn get_mut(&mut self, user: &UserId) -> Option<&mut Used> {
        self.by_id.get_mut(user)
    }

    /// All, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&UserId, &Used)> {
        self.by_id.iter()
    }

    /// Takes back what [`Self::all`] gave.
    pub(crate) fn restore(&mut self, all: impl Iterator<Item = (UserId, Used)>) {
        self.by_id.extend(all);
    }

    /// What a user used, to be changed. Says how many others had to be forgotten early.
    pub(crate) fn entry(
        &mut self,
        user: &UserId,
        limits: &UserLimits,
        now_ms: u64,
        users_max: u32,
    ) -> (&mut Used, u64) {
        let mut evicted = 0;
        if self.by_id.len() >= users_max as usize && !self.by_id.contains_key(user) {
            evicted = self.make_room(limits, now_ms, users_max as usize);
        }
        // Cloning an id copies no text.
        (self.by_id.entry(user.clone()).or_default(), evicted)
    }

    /// Drops those of whom nothing counts any more; when that is not enough, the eighth that is free soonest.
    fn make_room(&mut self, limits: &UserLimits, now_ms: u64, users_max: usize) -> u64 {
        self.by_id
            .retain(|_, used| used.uses.free_at_ms(limits) > now_ms);
        if self.by_id.len() < users_max {
            return 0;
        }
        let mut all: Vec<(u64, UserId)> = self
            .by_id
            .iter()
            .map(|(user, used)| (used.uses.free_at_ms(limits), user.clone()))
            .collect();
        // The user breaks ties, so that the table's order decides nothing.
        all.sort_unstable();
        let drop = (all.len() / 8).max(1);
        for (_, user) in &all[..drop.min(all.len())] {
            self.by_id.remove(user);
        }
        drop as u64
    }
}

#[cfg(test)]
mod tests {
    use chorus_protocol::limits::Limits;

    use super::*;

    fn user(i: u64) -> UserId {
        format!("u{i}").parse().expect("a user")
    }

    #[test]
    fn who_is_free_soonest_goes_first() {
        let limits = UserLimits::from(&Limits::default());
        let mut users = Users::new(&Keyed::new(1));
        let mut reacts = |i: u64, at: u64, now: u64| {
            let (used, evicted) = users.entry(&user(i), &limits, now, 16);
            used.uses.charge_reactions(&limits, at, 1);
            (evicted, users.by_id.len())
        };
        for i in 0..16 {
            assert_eq!(reacts(i, i + 1, 0).0, 0);
        }
        // At 60,004 ms the first four are free of all: they go, and nobody else.
        assert_eq!(reacts(90, 60_004, 60_004), (0, 13));
        for i in 91..94 {
            reacts(i, 60_004, 60_004);
        }
        assert_eq!(reacts(95, 60_004, 60_004).0, 2);
        assert!(!users.by_id.contains_key(&user(4)));
        assert!(!users.by_id.contains_key(&user(5)));
        assert!(users.by_id.contains_key(&user(6)));
    }
}
