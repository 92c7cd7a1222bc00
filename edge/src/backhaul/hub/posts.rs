//! Posts on their way to the log: pipelined, sent again under the same key, answered with the truth.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use chorus_protocol::Outcome;
use chorus_protocol::backhaul::Publish;
use chorus_protocol::codes::Reason;
use chorus_protocol::timing::{Backoff, Deadlines};

use super::RETRY_MS_MIN;
use crate::link::ShardId;

const RETRY_AFTER_MS: u64 = 1_000;
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
pub(super) type Answer = (ShardId, u64, Outcome);

/// All posts of the process that have no answer yet.
#[derive(Debug)]
pub(super) struct Posts {
    waiting: HashMap<u64, Post>,
    /// All have the same time, so these are in order; those answered in the meantime are passed over.
    deadlines: VecDeque<(Instant, u64)>,
    again: Deadlines<Instant, u64>,
    waiting_max: usize,
    unconfirmed: Duration,
    retry: Backoff,
}

impl Posts {
    pub(super) fn new(waiting_max: usize, unconfirmed_ms: u64, retry_ms_max: u64) -> Self {
        Self {
            waiting: HashMap::new(),
            deadlines: VecDeque::new(),
            again: Deadlines::default(),
            waiting_max,
            unconfirmed: Duration::from_millis(unconfirmed_ms),
            retry: Backoff::new(RETRY_MS_MIN, retry_ms_max),
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
        let post = self.waiting.get_mut(&number)?;
        // What one try came to says nothing of those before it: they may be stored, or still under way at another gateway.
        let unsettled = post.sent > 1 && matches!(outcome, Outcome::Refused { .. });
        if outcome == Outcome::Unknown || unsettled && may_pass(&outcome) {
            post.tries += 1;
            let wait = Duration::from_millis(self.retry.ms(post.tries, jitter));
            self.again.set(number, Some(now + wait));
            return None;
        }
        let outcome = if unsettled { Outcome::Unknown } else { outcome };
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
        std::iter::from_fn(|| self.again.pop(now)).collect()
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
                    Outcome::Unknown
                } else {
                    unavailable()
                };
                answers.push((post.shard, post.request, outcome));
            }
        }
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    /// When [`Self::due`] has something to do. While there is no gateway it waits for one.
    pub(super) fn next_again(&self) -> Option<Instant> {
        self.again.next()
    }
}

/// The same post may be let in later: it is sent again, and what an earlier try stored is found then.
fn may_pass(refusal: &Outcome) -> bool {
    let later =
        matches!(refusal, Outcome::Refused { retry_after_ms, .. } if retry_after_ms.is_some());
    later || refusal.is_refused_for(Reason::Unavailable)
}

fn unavailable() -> Outcome {
    Outcome::refused(Reason::Unavailable, Some(RETRY_AFTER_MS))
}
