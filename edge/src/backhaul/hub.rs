//! What the backhaul decides, without a socket or a clock: shards' wishes and the gateway's messages in, messages to
//! both out.
//!
//! Its parts each know when they want to be looked at again ([`Hub::next`]). Public for tests and benchmarks only.

mod cache;
mod counts;
mod lease;
mod order;
mod posts;
mod replays;
mod streams;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chorus_protocol::backhaul::{
    Datagram, FrameError, Publish, Published, RefusedReactions, ToGateway, ToPop, quiet_parts,
    write_bare, write_frame,
};
use chorus_protocol::session::Replayed;
use chorus_protocol::timing::Backoff;
use chorus_protocol::{Millis, Outcome};

use self::cache::CacheBounds;
use self::counts::{CountBounds, Counts, Said};
use self::lease::Lease;
use self::posts::Posts;
use self::replays::{Replays, Taken, Waiters};
use self::streams::{EarlyBounds, Streams};
use super::config::BackhaulBounds;
use super::metrics::{Metrics, add, set};
use crate::link::{ShardId, ToBackhaul, ToShard};

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
    connected: bool,
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
            connected: false,
            next_number: 1,
            jitter: process,
            answers: (0..shards).map(|_| Vec::new()).collect(),
            metrics,
        }
    }

    /// A shard wants something.
    pub fn shard(&mut self, now: Now, message: ToBackhaul) {
        match message {
            ToBackhaul::Subscribe { shard, stream } => {
                self.streams
                    .subscribe(shard, stream, &mut self.out, &self.metrics);
            }
            ToBackhaul::Unsubscribe { shard, stream } => {
                self.counts.leave(now.mono, shard, &stream);
                self.streams.unsubscribe(now.mono, shard, &stream);
            }
            ToBackhaul::Publish {
                shard,
                request,
                event,
            } => {
                let number = self.number();
                let publish = Publish::Event {
                    request: number,
                    event,
                };
                add(&self.metrics.posts, 1);
                let refused = self.posts.take(now.mono, number, shard, request, publish);
                match refused {
                    Some(answer) => {
                        add(&self.metrics.posts_refused, 1);
                        self.answer(answer);
                    }
                    None if self.connected => self.send_post(number),
                    None => {}
                }
            }
            ToBackhaul::Count {
                shard,
                stream,
                reactions,
                users,
                viewers,
            } => {
                let dropped =
                    self.counts
                        .add(now.mono, shard, &stream, (reactions, users), viewers);
                add(&self.metrics.reactions_dropped, dropped);
            }
            ToBackhaul::Restarted { shard } => self.restarted(now, shard),
            ToBackhaul::Replay {
                shard,
                request,
                stream,
                range,
            } => {
                add(&self.metrics.replays, 1);
                if let Some(replayed) = self.streams.replay(&stream, &range) {
                    add(&self.metrics.replays_cached, 1);
                    self.replayed(vec![(shard, request)], &replayed);
                    return;
                }
                match self.replays.take(now.mono, (shard, request), stream, range) {
                    Taken::Queued => {}
                    Taken::Joined => add(&self.metrics.replays_joined, 1),
                    Taken::Full => self.no_replay(vec![(shard, request)]),
                }
            }
        }
    }

    /// A shard begins anew: nobody is left there to hear of what it asked for.
    fn restarted(&mut self, now: Now, shard: ShardId) {
        for stream in self.streams.of(shard) {
            self.streams.unsubscribe(now.mono, shard, &stream);
        }
        self.counts.forget(now.mono, shard);
        self.posts.forget(shard);
        self.replays.forget(shard);
        if let Some(answers) = self.answers.get_mut(usize::from(shard)) {
            answers.clear();
        }
        if let Some(messages) = self.out.shards.get_mut(usize::from(shard)) {
            messages.clear();
        }
        if let Some(granted) = self.lease.granted() {
            let (worker, until) = (granted.worker, granted.until);
            self.out.shard(shard, ToShard::Lease { worker, until });
        }
        let connected = self.connected;
        self.out.shard(shard, ToShard::Connected(connected));
    }

    /// A gateway welcomed this process. `hello_at` is when it was greeted.
    pub fn connected(
        &mut self,
        now: Now,
        hello_at: Millis,
        gateway_now: Millis,
        worker: u16,
        until: Millis,
    ) {
        self.connected = true;
        add(&self.metrics.connects, 1);
        set(&self.metrics.connected, 1);
        self.lease.clocks(hello_at, gateway_now);
        self.grant(now, worker, until);
        self.out.every_shard(|| ToShard::Connected(true));
        self.streams.connected(&mut self.out);
        for number in self.posts.all() {
            self.send_post(number);
        }
        self.counts.connected(now.mono);
    }

    /// The gateway is gone.
    pub fn disconnected(&mut self) {
        if !self.connected {
            return;
        }
        self.connected = false;
        set(&self.metrics.connected, 0);
        // What was meant for it is said anew to the next.
        self.out.control.clear();
        self.out.posts.clear();
        self.out.datagrams.clear();
        self.lease.disconnected();
        self.streams.disconnected();
        self.counts.disconnected();
        self.out.every_shard(|| ToShard::Connected(false));
    }

    /// The gateway said something on the control lane.
    pub fn control(&mut self, now: Now, message: ToPop) {
        match message {
            ToPop::Welcome { .. } => {
                add(&self.metrics.malformed, 1);
                tracing::warn!("the gateway welcomes twice");
            }
            ToPop::Renewed { worker, until_ms } => self.grant(now, worker, until_ms),
            ToPop::Held { stream, held } => {
                self.streams
                    .held(now.mono, stream, held, &mut self.out, &self.metrics);
            }
            ToPop::Life { stream, life } => {
                self.streams
                    .life(&stream, &life, &mut self.out, &self.metrics);
            }
            ToPop::ReactionsRefused(refused) => {
                let count = refused.iter().map(|it| it.count).sum();
                add(&self.metrics.reactions_refused, count);
                let refused: Arc<[RefusedReactions]> = refused.into();
                self.out
                    .every_shard(|| ToShard::ReactionsRefused(Arc::clone(&refused)));
            }
        }
    }

    /// The gateway answered a publication.
    pub fn published(&mut self, now: Now, published: Published) {
        let jitter = self.jitter();
        let Published { request, outcome } = published;
        let dropped = self.counts.answered(now.mono, request, &outcome, jitter);
        if dropped > 0 {
            tracing::warn!(dropped, "the gateway refused reactions");
            add(&self.metrics.reactions_dropped, dropped);
        }
        if matches!(&outcome, Outcome::Refused { reason, .. } if reason.is_empty()) {
            add(&self.metrics.malformed, 1);
        }
        if let Some(answer) = self.posts.answered(now.mono, request, outcome, jitter) {
            self.answer(answer);
        }
    }

    /// The gateway delivered something over a stream's own lane. Says how many events it brings.
    ///
    /// # Errors
    /// When it cannot be read: what was meant did not arrive.
    pub fn delivered(&mut self, now: Now, stream: &str, data: Bytes) -> Result<usize, FrameError> {
        let (out, metrics) = (&mut self.out, &self.metrics);
        self.streams.delivered(now.mono, stream, data, out, metrics)
    }

    /// The same over the quiet lane, where each message names its stream.
    ///
    /// # Errors
    /// As [`Self::delivered`].
    pub fn delivered_quietly(&mut self, now: Now, message: &Bytes) -> Result<usize, FrameError> {
        let (stream, at) = quiet_parts(message)?;
        self.delivered(now, stream, message.slice(at..))
    }

    /// The gateway sent a datagram.
    pub fn datagram(&mut self, datagram: &Datagram) {
        match datagram {
            Datagram::Totals {
                stream,
                reactions,
                viewers,
            } => self
                .streams
                .totals(stream, reactions, *viewers, &mut self.out),
            Datagram::Viewing { .. } => add(&self.metrics.malformed, 1),
        }
    }

    /// A replay asked for came out.
    pub fn asked(&mut self, now: Now, number: u64, replayed: Option<&Replayed>) {
        match replayed {
            Some(replayed) => {
                let waiters = self.replays.answered(number);
                self.replayed(waiters, replayed);
            }
            None => {
                let jitter = self.jitter();
                self.replays.failed(now.mono, number, jitter);
            }
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
        if self.connected {
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

    /// When something becomes due.
    pub fn next(&self) -> Option<Instant> {
        let always = [self.posts.next(), self.replays.next(), self.streams.next()];
        let connected = [self.counts.next(), self.lease.next()];
        let connected = connected.into_iter().filter(|_| self.connected);
        always.into_iter().chain(connected).flatten().min()
    }

    fn grant(&mut self, now: Now, worker: u16, until: Millis) {
        let granted = self
            .lease
            .grant(now.mono, now.wall, worker, until, self.lease_margin_ms);
        set(&self.metrics.lease_worker, u64::from(granted.worker));
        set(&self.metrics.lease_until_ms, granted.until.0);
        self.out.every_shard(|| ToShard::Lease {
            worker: granted.worker,
            until: granted.until,
        });
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

    fn replayed(&mut self, waiters: Waiters, replayed: &Replayed) {
        // Writing into memory cannot fail.
        let data = Bytes::from(rmp_serde::to_vec_named(replayed).unwrap_or_default());
        for (shard, request) in waiters {
            let data = data.clone();
            self.out.shard(shard, ToShard::Replayed { request, data });
        }
    }

    fn no_replay(&mut self, waiters: Waiters) {
        if waiters.is_empty() {
            return;
        }
        add(&self.metrics.replays_failed, waiters.len() as u64);
        let gap = Replayed {
            gap: true,
            events: Vec::new(),
        };
        self.replayed(waiters, &gap);
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
