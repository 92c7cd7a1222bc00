//! The deadlines of a shard: one per connection, one per stream, one for the posts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::keyed::{Keyed, Map};

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Timer {
    /// A stream has something to send, or is to be given up.
    Stream(u32),
    /// A connection did not speak in time, or its token ends.
    Connection(u64),
    /// A post was not answered.
    Posts,
}

/// At most one deadline for each owner; setting another replaces it.
#[derive(Clone, Debug)]
pub(crate) struct Timers {
    of: Map<Timer, u64>,
    due: BTreeSet<(u64, Timer)>,
    /// That of [`Timer::Posts`], which moves with every post: it is in neither of the above.
    posts: Option<u64>,
    /// What the host was told last.
    pub(crate) announced: Option<u64>,
}

impl Timers {
    pub(crate) fn new(keyed: &Keyed) -> Self {
        Self {
            of: keyed.map(),
            due: BTreeSet::new(),
            posts: None,
            announced: None,
        }
    }

    pub(crate) fn set(&mut self, timer: Timer, at_ms: Option<u64>) {
        if timer == Timer::Posts {
            self.posts = at_ms;
            return;
        }
        let before = match at_ms {
            Some(at) => self.of.insert(timer, at),
            None => self.of.remove(&timer),
        };
        if before == at_ms {
            return;
        }
        if let Some(before) = before {
            self.due.remove(&(before, timer));
        }
        if let Some(at) = at_ms {
            self.due.insert((at, timer));
        }
    }

    /// Takes the next one that is due.
    pub(crate) fn pop(&mut self, now_ms: u64) -> Option<Timer> {
        let (at, timer) = self.first()?;
        if at > now_ms {
            return None;
        }
        self.set(timer, None);
        Some(timer)
    }

    /// The next one.
    fn first(&self) -> Option<(u64, Timer)> {
        let posts = self.posts.map(|at| (at, Timer::Posts));
        let due = self.due.first().copied();
        due.into_iter().chain(posts).min()
    }

    /// What to tell the host, when it is not what it was told last.
    pub(crate) fn announce(&mut self) -> Option<u64> {
        let next = self.first().map(|(at, _)| at);
        if next.is_none() || next == self.announced {
            return None;
        }
        self.announced = next;
        next
    }

    /// All, in order.
    pub(crate) fn all(&self) -> Vec<(u64, Timer)> {
        let posts = self.posts.map(|at| (at, Timer::Posts));
        let mut all: Vec<_> = self.due.iter().copied().chain(posts).collect();
        all.sort_unstable();
        all
    }
}
