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
    /// What the host was told last.
    pub(crate) announced: Option<u64>,
}

impl Timers {
    pub(crate) fn new(keyed: &Keyed) -> Self {
        Self {
            of: keyed.map(),
            due: BTreeSet::new(),
            announced: None,
        }
    }

    pub(crate) fn set(&mut self, timer: Timer, at_ms: Option<u64>) {
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
        let &(at, timer) = self.due.first()?;
        if at > now_ms {
            return None;
        }
        self.set(timer, None);
        Some(timer)
    }

    /// What to tell the host, when it is not what it was told last.
    pub(crate) fn announce(&mut self) -> Option<u64> {
        let next = self.due.first().map(|&(at, _)| at);
        if next.is_none() || next == self.announced {
            return None;
        }
        self.announced = next;
        next
    }

    /// All, in order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, Timer)> + '_ {
        self.due.iter().copied()
    }
}
