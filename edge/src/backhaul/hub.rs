//! What the backhaul decides, without a socket or a clock: shards' wishes and the gateway's messages in, messages to
//! both out.
//!
//! Its parts each know when they want to be looked at again ([`Hub::next`]). Public for tests and benchmarks only.

mod cache;
mod counts;
mod gateway;
mod hold;
mod lease;
mod load;
mod order;
mod posts;
mod redial;
mod replays;
mod shards;
mod streams;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chorus_protocol::backhaul::{Datagram, Publish, ToGateway, write_bare, write_frame};
use chorus_protocol::timing::Backoff;
use chorus_protocol::{Millis, Outcome};

use self::cache::CacheBounds;
use self::counts::{CountBounds, Counts, Said};
use self::lease::Lease;
use self::load::{Amount, Load};
use self::posts::Posts;
use self::replays::Replays;
use self::streams::{EarlyBounds, Streams};
use super::config::BackhaulBounds;
use super::metrics::{Metrics, add, set};
use crate::link::{ShardId, ToShard};

pub use self::gateway::{FromGateway, Generation, Welcome};
pub use self::redial::Redial;
pub use self::replays::Ask;

/// The shortest wait before something is tried again.
const RETRY_MS_MIN: u64 = 50;

/// What is to be done now.
#[derive(Debug, Default)]
pub struct Out {
    /// For each shard, in order.
    pub shards: Vec<Vec<ToShard>>,
    /// For the control lane.
    pub control: Vec<u8>,
    /// For the posts lane.
    pub posts: Vec<u8>,
    pub datagrams: Vec<Bytes>,
    pub asks: Vec<Ask>,
    /// By how many milliseconds this process's clock is to be set back, see [`crate::clock`].
    pub clock_ahead_ms: i64,
}

impl Out {
    fn shard(&mut self, shard: ShardId, message: ToShard) {
        if let Some(messages) = self.shards.get_mut(usize::from(shard)) {
            messages.push(message);
        }
    }

    fn every_shard(&mut self, message: impl Fn() -> ToShard) {
        for messages in &mut self.shards {
            messages.push(message());
        }
    }

    fn control(&mut self, message: &ToGateway) {
        if let Err(error) = write_frame(message, &mut self.control) {
            tracing::error!(%error, "a message to the gateway cannot be written");
        }
    }

    fn post(&mut self, message: &Publish) {
        if let Err(error) = write_frame(message, &mut self.posts) {
            tracing::error!(%error, "a post cannot be written");
        }
    }
}

/// The time, twice: the one that never jumps, and the one leases are made of.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub mono: Instant,
    pub wall: Millis,
}

/// The state of the backhaul.
#[derive(Debug)]
pub struct Hub {
    out: Out,
    streams: Streams,
    posts: Posts,
    counts: Counts,
    replays: Replays,
    lease: Lease,
    lease_margin_ms: u64,
    load: Load,
    /// By which connection.
    connected: Option<Generation>,
    next_number: u64,
    jitter: u64,
    answers: Vec<Vec<(u64, Outcome)>>,
    metrics: Arc<Metrics>,
}

impl Hub {
    /// `process` is a number nobody else draws.
    pub fn new(
        bounds: &BackhaulBounds,
        shards: usize,
        process: u64,
        metrics: Arc<Metrics>,
    ) -> Self {
        let cache = CacheBounds {
            events_max: bounds.cache_events_max,
            bytes_max: bounds.cache_bytes_max,
            newest_max: bounds.newest_max,
        };
        let early = EarlyBounds {
            max: bounds.early_max,
            wait: Duration::from_millis(bounds.early_ms_max),
        };
        let counts = CountBounds {
            reactions: Duration::from_millis(bounds.reactions_ms),
            reaction_types_max: bounds.reaction_types_max,
            reaction_users_max: bounds.reaction_users_max,
            reactions_dropped_after: Duration::from_millis(bounds.reactions_ms_max),
            viewers: Duration::from_millis(bounds.viewers_ms),
            retry: Backoff::new(RETRY_MS_MIN, bounds.retry_ms_max),
        };
        Self {
            out: Out {
                shards: (0..shards).map(|_| Vec::new()).collect(),
                ..Out::default()
            },
            streams: Streams::new(cache, early, bounds.release_ms),
            posts: Posts::new(
                bounds.posts_waiting_max,
                bounds.unconfirmed_ms,
                bounds.retry_ms_max,
            ),
            counts: Counts::new(process, counts),
            replays: Replays::new(
                bounds.replays_max,
                bounds.replays_waiting_max,
                bounds.replay_ms_max,
            ),
            lease: Lease::default(),
            lease_margin_ms: bounds.lease_margin_ms,
            load: Load::default(),
            connected: None,
            next_number: 1,
            jitter: process,
            answers: (0..shards).map(|_| Vec::new()).collect(),
            metrics,
        }
    }

    /// Does what has become due and hands out all there is to do.
    pub fn flush(&mut self, now: Now) -> &mut Out {
        let mut expired = Vec::new();
        self.posts.expire(now.mono, &mut expired);
        for answer in expired {
            match &answer.2 {
                Outcome::Unknown => add(&self.metrics.posts_unconfirmed, 1),
                Outcome::Refused { .. } | Outcome::Stored { .. } => {
                    add(&self.metrics.posts_refused, 1);
                }
            }
            self.answer(answer);
        }
        let waiters = self.replays.expire(now.mono);
        self.no_replay(waiters);
        self.streams.tick(now.mono, &mut self.out, &self.metrics);
        if self.connected.is_some() {
            self.flush_connected(now);
        }
        for (shard, answers) in self.answers.iter_mut().enumerate() {
            if !answers.is_empty()
                && let Some(messages) = self.out.shards.get_mut(shard)
            {
                messages.push(ToShard::Published(std::mem::take(answers)));
            }
        }
        set(&self.metrics.posts_waiting, self.posts.len() as u64);
        set(&self.metrics.streams_held, self.streams.len() as u64);
        &mut self.out
    }

    fn flush_connected(&mut self, now: Now) {
        if self.lease.renew(now.mono, now.wall) {
            self.out.control(&ToGateway::Renew);
        }
        if let Some(load) = self.load.say(now.mono) {
            self.out.control(&load);
        }
        for number in self.posts.due(now.mono) {
            self.send_post(number);
        }
        let mut said = Said::default();
        self.counts.say(now.mono, &mut self.next_number, &mut said);
        for (publish, again) in &said.reactions {
            add(&self.metrics.reactions_resent, u64::from(*again));
            self.out.post(publish);
        }
        add(&self.metrics.reactions_dropped, said.dropped);
        for (stream, count) in said.viewing {
            // Writing a name and a number into memory cannot fail.
            let datagram = write_bare(&Datagram::Viewing { stream, count });
            self.out.datagrams.extend(datagram.ok().map(Bytes::from));
        }
        self.replays.start(now.mono, &mut self.out.asks);
    }

    /// How full this PoP is now.
    pub fn load(&mut self, connections: u64, draining: bool) {
        self.load.set(Amount {
            connections,
            draining,
        });
    }

    /// When something becomes due.
    pub fn next(&self) -> Option<Instant> {
        let always = [
            self.posts.next_deadline(),
            self.replays.next_deadline(),
            self.streams.next(),
        ];
        let connected = [
            self.posts.next_again(),
            self.replays.next_again(),
            self.counts.next(),
            self.lease.next(),
            self.load.next(),
        ];
        let connected = connected.into_iter().filter(|_| self.connected.is_some());
        always.into_iter().chain(connected).flatten().min()
    }

    fn send_post(&mut self, number: u64) {
        if let Some((publish, again)) = self.posts.send(number) {
            add(&self.metrics.posts_resent, u64::from(again));
            self.out.post(publish);
        }
    }

    fn answer(&mut self, (shard, request, outcome): posts::Answer) {
        if let Some(answers) = self.answers.get_mut(usize::from(shard)) {
            answers.push((request, outcome));
        }
    }

    fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// A number that others do not draw at the same time; nothing that must not be guessed hangs on it.
    fn jitter(&mut self) -> u64 {
        self.jitter = self
            .jitter
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.jitter >> 33
    }
}

#[cfg(test)]
mod tests;
