//! Which users have connections here: the host follows a topic of each and knows how many there are.

use std::collections::BTreeSet;

use chorus_protocol::UserId;

use crate::io::{Output, TopicId};
use crate::keyed::{Keyed, Map};

/// Where users' topics begin: streams' topics have the numbers below.
const FIRST: TopicId = 1 << 31;

#[derive(Clone, Copy, Debug)]
struct Here {
    topic: TopicId,
    /// The host was asked to follow it.
    followed: bool,
    connections: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Present {
    by_user: Map<UserId, Here>,
    /// Whose number the host does not know.
    changed: BTreeSet<UserId>,
    next: TopicId,
}

impl Present {
    pub(crate) fn new(keyed: &Keyed) -> Self {
        Self {
            by_user: keyed.map(),
            changed: BTreeSet::new(),
            next: FIRST,
        }
    }

    /// One more connection of a user.
    pub(crate) fn came(&mut self, user: &UserId) {
        self.here(user).connections += 1;
        self.changed.insert(user.clone());
    }

    fn here(&mut self, user: &UserId) -> &mut Here {
        let next = &mut self.next;
        // Cloning an id copies no text.
        self.by_user.entry(user.clone()).or_insert_with(|| {
            let topic = *next;
            *next = topic.wrapping_add(1).max(FIRST);
            Here {
                topic,
                followed: false,
                connections: 0,
            }
        })
    }

    /// One less.
    pub(crate) fn went(&mut self, user: &UserId) {
        if let Some(here) = self.by_user.get_mut(user) {
            here.connections = here.connections.saturating_sub(1);
            self.changed.insert(user.clone());
        }
    }

    /// Tells the host what changed.
    pub(crate) fn settle(&mut self, out: &mut Vec<Output>) {
        for user in std::mem::take(&mut self.changed) {
            let Some(here) = self.by_user.get_mut(&user) else {
                continue;
            };
            if here.connections == 0 {
                if here.followed {
                    out.push(Output::Unsubscribe(here.topic));
                }
                self.by_user.remove(&user);
                continue;
            }
            let topic = here.topic;
            if !here.followed {
                here.followed = true;
                let name = format!("user:{user}");
                out.push(Output::Subscribe { topic, name });
            }
            out.push(Output::Count {
                topic,
                reactions: Vec::new(),
                users: Vec::new(),
                viewers: Some(here.connections),
            });
        }
    }

    /// What a snapshot holds beside the connections: the topics in no order, the next one.
    pub(crate) fn parts(&self) -> (impl Iterator<Item = (&UserId, TopicId)>, TopicId) {
        let topics = self.by_user.iter();
        let topics = topics.map(|(user, here)| (user, here.topic));
        (topics, self.next)
    }

    /// Takes back what [`Self::parts`] gave; `users` has the user of each connection. Those who have no topic get one,
    /// and the host is told: a form before had none.
    pub(crate) fn restore<'a>(
        &mut self,
        topics: Vec<(UserId, TopicId)>,
        next: TopicId,
        users: impl Iterator<Item = &'a UserId>,
    ) {
        self.next = next.max(FIRST);
        for (user, topic) in topics {
            let here = Here {
                topic,
                followed: true,
                connections: 0,
            };
            self.by_user.insert(user, here);
        }
        // In their order, so that the connections' decides nothing.
        let mut users: Vec<&UserId> = users.collect();
        users.sort_unstable();
        for user in users {
            let here = self.here(user);
            here.connections += 1;
            if !here.followed {
                self.changed.insert(user.clone());
            }
        }
    }
}
