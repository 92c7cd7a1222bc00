//! What users have used up: the local tier of the rate limits.

use chorus_protocol::UserId;
use serde::{Deserialize, Serialize};

use crate::keyed::{Keyed, Map};

/// One user's buckets; each number is the time (µs) at which the bucket is full again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Used {
    pub(crate) comments_us: u64,
    pub(crate) reactions_us: u64,
    /// By stream topic; only those that are not full yet.
    pub(crate) streams: Vec<UsedStream>,
}

/// One user's bucket in one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UsedStream {
    pub(crate) topic: u32,
    pub(crate) comments_us: u64,
    /// When the user wrote last, for slow mode.
    pub(crate) wrote_ms: u64,
}

impl UsedStream {
    /// A bucket that is full.
    pub(crate) fn new(topic: u32) -> Self {
        Self {
            topic,
            ..Self::default()
        }
    }
}

/// How long a last comment is remembered for slow mode where its bucket is full, in milliseconds.
const SLOW_MODE_MS_REMEMBERED: u64 = 600_000;

impl Used {
    fn full_at_us(&self) -> u64 {
        let streams = self.streams.iter().map(|stream| {
            let slow = stream
                .wrote_ms
                .saturating_add(SLOW_MODE_MS_REMEMBERED)
                .saturating_mul(1_000);
            stream.comments_us.max(slow)
        });
        streams.fold(self.comments_us.max(self.reactions_us), u64::max)
    }

    pub(crate) fn stream(&self, topic: u32) -> UsedStream {
        let known = self.streams.iter().find(|stream| stream.topic == topic);
        known.copied().unwrap_or(UsedStream::new(topic))
    }

    pub(crate) fn set_stream(&mut self, used: UsedStream, now_ms: u64) {
        // Most users write in one stream.
        if let [only] = self.streams.as_mut_slice()
            && only.topic == used.topic
        {
            *only = used;
            return;
        }
        self.streams.retain(|stream| {
            stream.topic != used.topic
                && (stream.comments_us > now_ms.saturating_mul(1_000)
                    || stream.wrote_ms.saturating_add(SLOW_MODE_MS_REMEMBERED) > now_ms)
        });
        if self.streams.len() >= STREAMS_PER_USER_MAX {
            self.streams.remove(0);
        }
        self.streams.push(used);
    }
}

/// Streams remembered for one user at the most; the one written to longest ago goes.
const STREAMS_PER_USER_MAX: usize = 64;

/// The users a shard remembers.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    pub(crate) by_id: Map<UserId, Used>,
}

impl Users {
    pub(crate) fn new(keyed: &Keyed) -> Self {
        Self { by_id: keyed.map() }
    }

    /// A user's buckets, to be changed. Says how many others had to be forgotten early.
    pub(crate) fn entry(&mut self, user: &UserId, now_ms: u64, users_max: u32) -> (&mut Used, u64) {
        let mut evicted = 0;
        if self.by_id.len() >= users_max as usize && !self.by_id.contains_key(user) {
            evicted = self.make_room(now_ms, users_max as usize);
        }
        // Cloning an id copies no text.
        (self.by_id.entry(user.clone()).or_default(), evicted)
    }

    /// Drops those whose buckets are full; when that is not enough, the eighth that is fullest.
    fn make_room(&mut self, now_ms: u64, users_max: usize) -> u64 {
        let now_us = now_ms.saturating_mul(1_000);
        self.by_id.retain(|_, used| used.full_at_us() > now_us);
        if self.by_id.len() < users_max {
            return 0;
        }
        let mut all: Vec<(u64, UserId)> = self
            .by_id
            .iter()
            .map(|(user, used)| (used.full_at_us(), user.clone()))
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
    use super::*;

    fn user(i: u64) -> UserId {
        format!("u{i}").parse().expect("a user")
    }

    #[test]
    fn the_fullest_buckets_go_first() {
        let mut users = Users::new(&Keyed::new(1));
        for i in 0..16 {
            users.entry(&user(i), 0, 16).0.comments_us = 1_000 * (i + 1);
        }
        // At 4 ms the first four are full: they go, and nobody else.
        assert_eq!(users.entry(&user(90), 4, 16).1, 0);
        assert_eq!(users.by_id.len(), 13);
        for i in 91..94 {
            users.entry(&user(i), 4, 16).0.comments_us = 1_000_000;
        }
        users.entry(&user(90), 4, 16).0.comments_us = 1_000_000;
        assert_eq!(users.entry(&user(95), 4, 16).1, 2);
        assert!(!users.by_id.contains_key(&user(4)));
        assert!(!users.by_id.contains_key(&user(5)));
        assert!(users.by_id.contains_key(&user(6)));
    }
}
