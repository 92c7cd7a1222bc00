//! The state machine of a shard: inputs are taken in order, then what they left to be done is settled.

mod accounts;
mod catching_up;
mod commands;
mod decisions;
mod delivery;
mod frames;
mod life;
mod published;
mod replies;
mod resuming;
mod settle;
mod state;
#[cfg(test)]
mod updating;
mod words;

use chorus_protocol::Millis;
use chorus_protocol::session::Control;

use crate::config::{Config, ConfigError};
use crate::conns::Conns;
use crate::io::{BlobId, Input, Output, RequestId, TopicId};
use crate::keyed::Keyed;
use crate::posts::Posts;
use crate::present::Present;
use crate::rate::Meter;
use crate::stats::Stats;
use crate::streams::Streams;
use crate::timers::{Timer, Timers};
use crate::users::Users;

/// The session logic of one shard.
#[derive(Debug)]
pub struct Session {
    pub(crate) keyed: Keyed,
    pub(crate) config: Config,
    pub(crate) now: Millis,
    pub(crate) conns: Conns,
    pub(crate) streams: Streams,
    pub(crate) users: Users,
    pub(crate) present: Present,
    pub(crate) posts: Posts,
    pub(crate) timers: Timers,
    /// Frames × members: what the host has to send.
    pub(crate) sends: Meter,
    pub(crate) connected: bool,
    pub(crate) numbers: Numbers,
    stats: Stats,
}

/// The last numbers given to what is asked of the host.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) request: RequestId,
    pub(crate) blob: BlobId,
}

impl Numbers {
    fn request(&mut self) -> RequestId {
        self.request += 1;
        self.request
    }

    fn blob(&mut self) -> BlobId {
        self.blob += 1;
        self.blob
    }
}

impl Session {
    /// Starts empty. `config` is a `SessionConfig` as JSON; `seed` keys the hash tables.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub fn init(config: &[u8], seed: u64) -> Result<Self, ConfigError> {
        Ok(Self::empty(Config::read(config)?, seed))
    }

    pub(crate) fn empty(config: Config, seed: u64) -> Self {
        let keyed = Keyed::new(seed);
        Self {
            now: Millis(0),
            conns: Conns::new(&keyed),
            streams: Streams::new(&keyed),
            users: Users::new(&keyed),
            present: Present::new(&keyed),
            posts: Posts::new(&keyed),
            timers: Timers::new(&keyed),
            sends: Meter::default(),
            connected: false,
            numbers: Numbers::default(),
            stats: Stats::default(),
            keyed,
            config,
        }
    }

    /// Takes a batch in order and appends what is to be done. Time never goes back: an earlier `now` counts as the
    /// last one.
    pub fn handle(&mut self, now: Millis, inputs: Vec<Input>, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        // A post has two, and so has its answer with what it waits for.
        out.reserve(2 * inputs.len());
        for input in inputs {
            self.take(input, out);
        }
        self.settle(out);
        if let Some(at) = self.timers.announce() {
            out.push(Output::WakeAt(at));
        }
    }

    /// What it counted since the instance began.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn take(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Configured(json) => {
                // A bad configuration changes nothing; whoever wrote it is told where it was read first.
                if let Ok(config) = Config::read(&json) {
                    self.config = config;
                }
            }
            Input::Opened(opened) => self.open(opened, out),
            Input::Frame { connection, data } => self.frame(connection, &data, out),
            Input::Closed(connection) => self.forget(connection),
            Input::Lagged(connection) => {
                self.stats.lagged += 1;
                self.forget(connection);
            }
            Input::Delivered { topic, data } => self.delivered(topic, &data, out),
            Input::Control { topic, data } => match rmp_serde::from_slice::<Control>(&data) {
                Ok(control) => self.control(topic, control, out),
                Err(_) => self.stats.deliveries_malformed += 1,
            },
            Input::Replayed { request, data } => self.replayed(request, &data, out),
            Input::Published { request, outcome } => self.published(request, outcome, out),
            Input::Counted {
                topic,
                reactions,
                viewers,
            } => {
                if let Some(live) = self.streams.live_mut(topic) {
                    live.count(reactions, viewers);
                    self.streams.touch(topic);
                }
            }
            Input::Timer => self.timers.announced = None,
        }
    }

    fn control(&mut self, topic: Option<TopicId>, control: Control, out: &mut Vec<Output>) {
        match control {
            Control::Lease { worker, until_ms } => self.posts.lease(worker, until_ms),
            Control::Backhaul { connected } => self.connected = connected,
            Control::ReactionsRefused(refused) => self.reactions_refused(&refused, out),
            Control::User { user, word } => self.user_word(&user, &word, out),
            Control::State(Some(state)) => match topic {
                Some(topic) => self.stream_state(topic, *state, out),
                None => self.stats.deliveries_malformed += 1,
            },
            Control::State(None) => match topic {
                Some(topic) => self.stream_missing(topic, out),
                None => self.stats.deliveries_malformed += 1,
            },
            Control::Life(life) => match topic {
                Some(topic) => self.stream_life(topic, *life, out),
                None => self.stats.deliveries_malformed += 1,
            },
        }
    }

    /// Does what the inputs left to be done and what is due.
    fn settle(&mut self, out: &mut Vec<Output>) {
        loop {
            if let Some(topic) = self.streams.next_touched() {
                self.settle_stream(topic, out);
                continue;
            }
            match self.timers.pop(self.now.0) {
                Some(Timer::Stream(topic)) => self.settle_stream(topic, out),
                Some(Timer::Connection(connection)) => self.connection_due(connection, out),
                Some(Timer::Posts) => self.posts_due(out),
                None => return self.present.settle(out),
            }
        }
    }
}
