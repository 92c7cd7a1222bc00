//! The state machine of a shard: inputs are taken in order, then what they left to be done is settled.

mod accounts;
mod delete_comment;
mod delivery;
mod frames;
mod joins;
mod life;
mod posting;
mod reacting;
mod replies;
mod resuming;
mod settle;

use std::collections::{BTreeSet, VecDeque};

use chorus_protocol::session::Control;
use chorus_protocol::{Millis, StreamId};

use crate::commands::Commands;
use crate::config::{Config, ConfigError};
use crate::conn::Conn;
use crate::io::{BlobId, ConnectionId, Input, Output, RequestId, TopicId};
use crate::keyed::{Keyed, Map};
use crate::mint::Mint;
use crate::posts::Posts;
use crate::rate::Meter;
use crate::stats::Stats;
use crate::stream::Stream;
use crate::timers::{Timer, Timers};
use crate::users::Users;

/// The session logic of one shard.
#[derive(Debug)]
pub struct Session {
    pub(crate) keyed: Keyed,
    pub(crate) config: Config,
    pub(crate) now: Millis,
    pub(crate) conns: Map<ConnectionId, Conn>,
    pub(crate) streams: Map<TopicId, Stream>,
    pub(crate) topics: Map<StreamId, TopicId>,
    /// What was asked of the logs, and for which stream.
    pub(crate) asked: Map<RequestId, TopicId>,
    pub(crate) users: Users,
    pub(crate) posts: Posts,
    pub(crate) commands: Commands,
    pub(crate) mint: Mint,
    pub(crate) timers: Timers,
    /// Streams that were found not to exist, the last ones.
    pub(crate) missing: VecDeque<(Millis, StreamId)>,
    /// Frames × members: what the host has to send.
    pub(crate) sends: Meter,
    pub(crate) connected: bool,
    pub(crate) next_topic: TopicId,
    pub(crate) next_request: RequestId,
    pub(crate) next_blob: BlobId,
    pub(crate) next_ticket: u32,
    pub(crate) stats: Stats,
    /// Streams to be settled before `handle` returns.
    pub(crate) touched: BTreeSet<TopicId>,
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
            conns: keyed.map(),
            streams: keyed.map(),
            topics: keyed.map(),
            asked: keyed.map(),
            users: Users::new(&keyed),
            posts: Posts::new(&keyed),
            commands: Commands::default(),
            mint: Mint::default(),
            timers: Timers::new(&keyed),
            missing: VecDeque::new(),
            sends: Meter::default(),
            connected: false,
            next_topic: 1,
            next_request: 1,
            next_blob: 1,
            next_ticket: 1,
            stats: Stats::default(),
            touched: BTreeSet::new(),
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
                if let Some(live) = self
                    .streams
                    .get_mut(&topic)
                    .and_then(|stream| stream.live.as_mut())
                {
                    live.count(reactions, viewers);
                    self.touched.insert(topic);
                }
            }
            Input::Timer => self.timers.announced = None,
        }
    }

    fn control(&mut self, topic: Option<TopicId>, control: Control, out: &mut Vec<Output>) {
        match control {
            Control::Lease { worker, until_ms } => self.mint.lease(worker, until_ms),
            Control::Backhaul { connected } => self.connected = connected,
            Control::ReactionsRefused(refused) => self.reactions_refused(&refused, out),
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
            if let Some(topic) = self.touched.pop_first() {
                self.settle_stream(topic, out);
                continue;
            }
            match self.timers.pop(self.now.0) {
                Some(Timer::Stream(topic)) => self.settle_stream(topic, out),
                Some(Timer::Connection(connection)) => self.connection_due(connection, out),
                Some(Timer::Posts) => self.posts_due(out),
                None => return,
            }
        }
    }
}
