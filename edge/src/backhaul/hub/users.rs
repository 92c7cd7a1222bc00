//! Which users have connections here, for the gateway: it passes on what is said to them.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use chorus_protocol::UserId;
use chorus_protocol::backhaul::ToGateway;
use chorus_protocol::presence::{USERS_MAX, UserHere};

use crate::link::ShardId;

/// What changes within this time is said together.
const EVERY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Users {
    max: usize,
    /// In which shards, and how many connections there; never empty.
    known: HashMap<UserId, Vec<(ShardId, u32)>>,
    changed: BTreeSet<UserId>,
    due: Option<Instant>,
}

impl Users {
    /// Of `max` users at most.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            known: HashMap::new(),
            changed: BTreeSet::new(),
            due: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// How many connections of a user a shard has now; false when there are too many users.
    pub(super) fn set(
        &mut self,
        now: Instant,
        shard: ShardId,
        user: UserId,
        connections: u32,
    ) -> bool {
        if !self.known.contains_key(&user) {
            if connections == 0 {
                return true;
            }
            if self.known.len() >= self.max {
                return false;
            }
        }
        let shards = self.known.entry(user.clone()).or_default();
        shards.retain(|(of, _)| *of != shard);
        if connections > 0 {
            shards.push((shard, connections));
        }
        if shards.is_empty() {
            self.known.remove(&user);
        }
        self.change(now, user);
        true
    }

    /// A shard begins anew and has none.
    pub(super) fn forget(&mut self, now: Instant, shard: ShardId) {
        let there: Vec<UserId> = self
            .known
            .iter()
            .filter(|(_, shards)| shards.iter().any(|(of, _)| *of == shard))
            .map(|(user, _)| user.clone())
            .collect();
        for user in there {
            self.set(now, shard, user, 0);
        }
    }

    /// A gateway that is new knows of nobody.
    pub(super) fn connected(&mut self, now: Instant) {
        self.changed = self.known.keys().cloned().collect();
        self.due = (!self.changed.is_empty()).then_some(now);
    }

    /// What is to be said now.
    pub(super) fn say(&mut self, now: Instant) -> Vec<ToGateway> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.due = None;
        let mut users = std::mem::take(&mut self.changed)
            .into_iter()
            .map(|user| UserHere {
                connections: self.shards(&user).iter().map(|(_, count)| count).sum(),
                user,
            });
        let mut messages = Vec::new();
        loop {
            let some: Vec<UserHere> = users.by_ref().take(USERS_MAX).collect();
            if some.is_empty() {
                return messages;
            }
            messages.push(ToGateway::Users(some));
        }
    }

    /// The shards that have connections of a user, and how many.
    pub(super) fn shards(&self, user: &UserId) -> &[(ShardId, u32)] {
        self.known.get(user).map_or(&[], Vec::as_slice)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due
    }

    fn change(&mut self, now: Instant, user: UserId) {
        self.changed.insert(user);
        self.due.get_or_insert(now + EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().expect("a user")
    }

    fn said(messages: &[ToGateway]) -> Vec<(&str, u32)> {
        let users = messages.iter().flat_map(|message| match message {
            ToGateway::Users(users) => users.as_slice(),
            ToGateway::Hello { .. }
            | ToGateway::Hold { .. }
            | ToGateway::Release { .. }
            | ToGateway::Renew
            | ToGateway::Load { .. } => &[],
        });
        users
            .map(|here| (here.user.as_str(), here.connections))
            .collect()
    }

    #[test]
    fn changes_are_said_together_and_all_again_to_a_new_gateway() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut users = Users::new(2);
        assert!(users.set(at(0), 0, user("ann"), 1));
        assert!(users.set(at(10), 1, user("ann"), 2));
        assert!(users.set(at(20), 1, user("bob"), 1));
        assert!(!users.set(at(20), 1, user("eve"), 1), "one too many");
        assert!(users.say(at(99)).is_empty());
        assert_eq!(said(&users.say(at(100))), [("ann", 3), ("bob", 1)]);
        assert_eq!(users.next(), None);
        // Gone from one shard, then from both.
        assert!(users.set(at(200), 0, user("ann"), 0));
        assert_eq!(users.shards(&user("ann")), [(1, 2)]);
        users.forget(at(210), 1);
        assert_eq!(said(&users.say(at(300))), [("ann", 0), ("bob", 0)]);
        assert_eq!(users.len(), 0);
        assert!(users.set(at(400), 0, user("eve"), 1));
        assert_eq!(said(&users.say(at(500))), [("eve", 1)]);
        users.connected(at(600));
        assert_eq!(said(&users.say(at(600))), [("eve", 1)]);
    }

    #[test]
    fn many_are_said_in_several_messages() {
        let now = Instant::now();
        let mut users = Users::new(USERS_MAX * 2);
        for number in 0..=USERS_MAX {
            assert!(users.set(now, 0, user(&format!("u{number}")), 1));
        }
        assert_eq!(users.say(now + EVERY).len(), 2);
    }
}
