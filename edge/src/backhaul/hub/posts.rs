//! Posts on their way to the log: pipelined, sent again under the same key, answered with the truth.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use chorus_protocol::backhaul::{Outcome, Publish};
use chorus_protocol::codes::Reason;

use crate::link::{PublishOutcome, ShardId};

const RETRY_MS_MIN: u64 = 50;
/// What a post is told that certainly is not stored.
const UNAVAILABLE: &str = Reason::Unavailable.as_str();
const RETRY_AFTER_MS: u64 = 1_000;
/// Reasons that may not have held yet when an earlier try of the same post was let in.
const OF_NOW: [&str; 3] = [
    Reason::StreamEnded.as_str(),
    Reason::StreamNotFound.as_str(),
    Reason::CommentsOff.as_str(),
];

/// In the place of a shard that has forgotten its posts.
const NOBODY: ShardId = ShardId::MAX;

/// One post.
#[derive(Debug)]
struct Post {
    shard: ShardId,
    request: u64,
    publish: Publish,
    /// How often it left: once it has, it may be stored.
    sent: u32,
    tries: u32,
}

/// An answer to a shard.
pub(super) type Answer = (ShardId, u64, PublishOutcome);

/// All posts of the process that have no answer yet.
#[derive(Debug)]
pub(super) struct Posts {
    waiting: HashMap<u64, Post>,
    /// In the order of their deadlines; those answered in the meantime are passed over.
    deadlines: VecDeque<(Instant, u64)>,
    again: BTreeSet<(Instant, u64)>,
    waiting_max: usize,
    unconfirmed: Duration,
    retry_ms_max: u64,
}

impl Posts {
    pub(super) fn new(waiting_max: usize, unconfirmed_ms: u64, retry_ms_max: u64) -> Self {
        Self {
            waiting: HashMap::new(),
            deadlines: VecDeque::new(),
            again: BTreeSet::new(),
            waiting_max,
            unconfirmed: Duration::from_millis(unconfirmed_ms),
            retry_ms_max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A shard begins anew: its posts still go to the log, and nobody is told how they came out.
    pub(super) fn forget(&mut self, shard: ShardId) {
        for post in self.waiting.values_mut() {
            if post.shard == shard {
                post.shard = NOBODY;
            }
        }
    }

    /// Takes a post; gives the answer back at once when too many wait.
    pub(super) fn take(
        &mut self,
        now: Instant,
        number: u64,
        shard: ShardId,
        request: u64,
        publish: Publish,
    ) -> Option<Answer> {
        if self.waiting.len() >= self.waiting_max {
            return Some((shard, request, unavailable()));
        }
        self.deadlines.push_back((now + self.unconfirmed, number));
        let post = Post {
            shard,
            request,
            publish,
            sent: 0,
            tries: 0,
        };
        self.waiting.insert(number, post);
        None
    }

    /// The message of a post, to be sent now. The second value says whether it had been sent before.
    pub(super) fn send(&mut self, number: u64) -> Option<(&Publish, bool)> {
        let post = self.waiting.get_mut(&number)?;
        post.sent += 1;
        Some((&post.publish, post.sent > 1))
    }

    /// Takes the gateway's answer. `None`: not a post, or one that is sent again.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        number: u64,
        outcome: Outcome,
        jitter: u64,
    ) -> Option<Answer> {
        let sent = self.waiting.get(&number)?.sent;
        let outcome = match outcome {
            // Not stored this time says nothing of the times before.
            Outcome::Refused { reason, .. } if sent > 1 && reason == UNAVAILABLE => {
                Outcome::Unknown
            }
            said @ (Outcome::Stored { .. } | Outcome::Refused { .. } | Outcome::Unknown) => said,
        };
        let outcome = match outcome {
            Outcome::Stored { id, duplicate } => PublishOutcome::Stored { id, duplicate },
            // The stream may have ended since an earlier try was stored.
            Outcome::Refused { reason, .. } if sent > 1 && OF_NOW.contains(&reason.as_str()) => {
                PublishOutcome::Unconfirmed
            }
            Outcome::Refused {
                reason,
                retry_after_ms,
            } => PublishOutcome::Refused {
                reason,
                retry_after_ms,
            },
            Outcome::Unknown => {
                let post = self.waiting.get_mut(&number)?;
                post.tries += 1;
                let wait = backoff(post.tries, self.retry_ms_max, jitter);
                self.again.insert((now + wait, number));
                return None;
            }
        };
        let post = self.waiting.remove(&number)?;
        Some((post.shard, post.request, outcome))
    }

    /// Every post there is, oldest first: to be sent over a new connection.
    pub(super) fn all(&mut self) -> Vec<u64> {
        self.again.clear();
        let mut numbers: Vec<u64> = self.waiting.keys().copied().collect();
        numbers.sort_unstable();
        numbers
    }

    /// The posts whose time to be sent again has come.
    pub(super) fn due(&mut self, now: Instant) -> Vec<u64> {
        let later = self.again.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.again, later)
            .into_iter()
            .map(|(_, number)| number)
            .collect()
    }

    /// Gives up what has waited too long.
    pub(super) fn expire(&mut self, now: Instant, answers: &mut Vec<Answer>) {
        while let Some((deadline, number)) = self.deadlines.front().copied() {
            if deadline > now && self.waiting.contains_key(&number) {
                break;
            }
            self.deadlines.pop_front();
            if let Some(post) = self.waiting.remove(&number) {
                let outcome = if post.sent > 0 {
                    PublishOutcome::Unconfirmed
                } else {
                    unavailable()
                };
                answers.push((post.shard, post.request, outcome));
            }
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let deadline = self.deadlines.front().map(|(at, _)| *at);
        let again = self.again.first().map(|(at, _)| *at);
        deadline.into_iter().chain(again).min()
    }
}

/// How long to wait before try number `tries` + 1: doubling, with jitter so that not all come at once.
pub(super) fn backoff(tries: u32, ms_max: u64, jitter: u64) -> Duration {
    let ms = RETRY_MS_MIN
        .saturating_mul(1 << tries.min(16))
        .min(ms_max.max(RETRY_MS_MIN));
    Duration::from_millis(ms / 2 + jitter % (ms / 2 + 1))
}

fn unavailable() -> PublishOutcome {
    PublishOutcome::Refused {
        reason: UNAVAILABLE.to_owned(),
        retry_after_ms: Some(RETRY_AFTER_MS),
    }
}
