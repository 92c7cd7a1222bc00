//! Replays the cache cannot answer: asked of the gateway, the same range once for all who want it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use chorus_protocol::StreamId;
use chorus_protocol::session::ReplayRange;
use chorus_protocol::timing::{Backoff, Deadlines};

use super::RETRY_MS_MIN;
use crate::link::ShardId;

const RETRY: Backoff = Backoff::new(RETRY_MS_MIN, 1_000);

/// A replay to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub number: u64,
    pub stream: StreamId,
    pub range: ReplayRange,
}

/// Who waits for an answer, and by which number.
pub(super) type Waiters = Vec<(ShardId, u64)>;

#[derive(Debug)]
struct Asked {
    ask: Ask,
    key: Vec<u8>,
    waiters: Waiters,
    tries: u32,
}

/// All replays under way.
#[derive(Debug)]
pub(super) struct Replays {
    asked: HashMap<u64, Asked>,
    by_range: HashMap<Vec<u8>, u64>,
    queue: VecDeque<u64>,
    again: Deadlines<Instant, u64>,
    deadlines: Deadlines<Instant, u64>,
    running: usize,
    next: u64,
    running_max: usize,
    waiting_max: usize,
    time: Duration,
}

/// What became of a replay asked for.
pub(super) enum Taken {
    /// Waits.
    Queued,
    /// The same range is under way.
    Joined,
    /// Too many wait.
    Full,
}

impl Replays {
    pub(super) fn new(running_max: usize, waiting_max: usize, ms_max: u64) -> Self {
        Self {
            asked: HashMap::new(),
            by_range: HashMap::new(),
            queue: VecDeque::new(),
            again: Deadlines::default(),
            deadlines: Deadlines::default(),
            running: 0,
            next: 0,
            running_max,
            waiting_max,
            time: Duration::from_millis(ms_max),
        }
    }

    pub(super) fn take(
        &mut self,
        now: Instant,
        waiter: (ShardId, u64),
        stream: StreamId,
        range: ReplayRange,
    ) -> Taken {
        // Writing names and numbers into memory cannot fail.
        let key = rmp_serde::to_vec(&(&stream, &range)).unwrap_or_default();
        if let Some(asked) = self
            .by_range
            .get(&key)
            .and_then(|it| self.asked.get_mut(it))
        {
            if asked.waiters.len() >= self.waiting_max {
                return Taken::Full;
            }
            asked.waiters.push(waiter);
            return Taken::Joined;
        }
        if self.asked.len() >= self.waiting_max {
            return Taken::Full;
        }
        let number = self.next;
        self.next += 1;
        self.by_range.insert(key.clone(), number);
        self.deadlines.set(number, Some(now + self.time));
        self.queue.push_back(number);
        let asked = Asked {
            ask: Ask {
                number,
                stream,
                range,
            },
            key,
            waiters: vec![waiter],
            tries: 0,
        };
        self.asked.insert(number, asked);
        Taken::Queued
    }

    /// A shard begins anew: it waits for nothing any more.
    pub(super) fn forget(&mut self, shard: ShardId) {
        for asked in self.asked.values_mut() {
            asked.waiters.retain(|(waiter, _)| *waiter != shard);
        }
    }

    /// Those to be asked for now. To be called while connected only.
    pub(super) fn start(&mut self, now: Instant, asks: &mut Vec<Ask>) {
        while let Some(number) = self.again.pop(now) {
            self.queue.push_back(number);
        }
        while self.running < self.running_max
            && let Some(number) = self.queue.pop_front()
        {
            if let Some(asked) = self.asked.get(&number) {
                self.running += 1;
                asks.push(asked.ask.clone());
            }
        }
    }

    /// An answer came: says who waits for it.
    pub(super) fn answered(&mut self, number: u64) -> Waiters {
        self.running = self.running.saturating_sub(1);
        self.finish(number)
    }

    /// No answer came: it is asked for again later, until its time is over.
    pub(super) fn failed(&mut self, now: Instant, number: u64, jitter: u64) {
        self.running = self.running.saturating_sub(1);
        if let Some(asked) = self.asked.get_mut(&number) {
            asked.tries += 1;
            let wait = Duration::from_millis(RETRY.ms(asked.tries, jitter));
            self.again.set(number, Some(now + wait));
        }
    }

    /// Those whose time is over: says who waited.
    pub(super) fn expire(&mut self, now: Instant) -> Waiters {
        let mut waiters = Vec::new();
        while let Some(number) = self.deadlines.pop(now) {
            waiters.append(&mut self.finish(number));
        }
        waiters
    }

    fn finish(&mut self, number: u64) -> Waiters {
        let Some(asked) = self.asked.remove(&number) else {
            return Vec::new();
        };
        self.by_range.remove(&asked.key);
        self.deadlines.set(number, None);
        self.again.set(number, None);
        asked.waiters
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// When [`Self::start`] has something to do. While there is no gateway it waits for one.
    pub(super) fn next_again(&self) -> Option<Instant> {
        self.again.next()
    }
}
