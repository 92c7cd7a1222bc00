//! The shard's parts and its loop.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chorus_protocol::Millis;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use tokio::sync::mpsc;

use super::brain::Brain;
use super::carry::Blob;
use super::conn::{Conn, ConnId};
use super::flush::Wire;
use super::lives;
use super::pace::Pace;
use super::queue::QueueBounds;
use super::send::{self, IoUring};
use super::topics::Topics;
use crate::component::{Input, Output, Verdict};
use crate::http::Handover;
use crate::link::{BackhaulSender, Bell, ShardHandle, ShardId, ToBackhaul, ToShard};
use crate::metrics::ShardMetrics;
use crate::pop::PopState;
use crate::ws::deflate::{Deflater, Inflater};
use crate::ws::handshake::Origins;

/// The listener's events.
pub(super) const LISTENER: Token = Token(0);
/// The bell's events.
const BELL: Token = Token(1);
/// Tokens of connections are their slots and this.
pub(super) const FIRST: usize = 2;
/// Events of one poll.
const EVENTS_MAX: usize = 1_024;
/// Bytes read from one socket in one turn; what is left is read in the next.
pub(super) const READ_BYTES_MAX: usize = 16 << 10;
/// Inputs of a turn from which no more sockets are read; what is left is read in the next.
pub(super) const INPUTS_MAX: usize = 4_096;
/// Messages from the backhaul taken in one turn.
const DOWN_MAX: usize = 512;

/// What a shard is made of.
pub struct ShardSpec {
    /// Its number, 0 to 15.
    pub shard: ShardId,
    /// TLS, when there is a certificate.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Bytes of a viewer's message.
    pub message_bytes_max: usize,
    /// Bounds of a viewer's queue.
    pub queue: QueueBounds,
    /// Pages that may connect.
    pub origins: Origins,
    /// Whether to use `io_uring`.
    pub io_uring: IoUring,
    /// What a turn of a busy shard lasts at least.
    pub turn_max: Duration,
    /// What the shards of a process share.
    pub pop: Arc<PopState>,
    /// Where it counts.
    pub metrics: Arc<ShardMetrics>,
    /// The way to the backhaul.
    pub up: BackhaulSender,
    /// Takes what is no WebSocket.
    pub http: mpsc::Sender<Handover>,
}

/// Why a shard cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its reactor.
    #[error("the reactor cannot be set up: {0}")]
    Reactor(#[from] io::Error),
}

/// A shard, before its thread runs it.
pub struct Shard {
    poll: Poll,
    bell: Arc<Bell>,
    down: Receiver<ToShard>,
    listener: std::net::TcpListener,
    spec: ShardSpec,
}

impl Shard {
    /// Sets the reactor up on the shard's own listener on the PoP's port; the handle reaches the shard from then on.
    ///
    /// # Errors
    /// When the system has no reactor to give.
    pub fn new(
        spec: ShardSpec,
        listener: std::net::TcpListener,
    ) -> Result<(Self, ShardHandle), StartError> {
        let poll = Poll::new()?;
        let bell = Arc::new(Bell::new(Waker::new(poll.registry(), BELL)?));
        let (handle, down) = ShardHandle::channel(Arc::clone(&bell));
        Ok((
            Self {
                poll,
                bell,
                down,
                listener,
                spec,
            },
            handle,
        ))
    }

    /// Runs until it is drained. Call it on the shard's own thread.
    ///
    /// # Errors
    /// When the reactor fails, which ends the process.
    pub fn run<B: Brain>(self, brain: B) -> Result<(), StartError> {
        let Self {
            poll,
            bell,
            down,
            spec,
            listener,
        } = self;
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let base = Base {
            poll,
            bell,
            down,
            spec,
            listener: Some(listener),
            now: Millis(0),
            sequence: 0,
            drain: None,
            leaving: Vec::new(),
        };
        lives::run(base, brain)
    }
}

/// What a shard keeps through a panic: the ends of its ways, and nothing that it decides with.
pub(super) struct Base {
    pub(super) poll: Poll,
    pub(super) bell: Arc<Bell>,
    pub(super) down: Receiver<ToShard>,
    pub(super) spec: ShardSpec,
    pub(super) listener: Option<TcpListener>,
    /// The time, which does not go back: ids were minted up to it.
    pub(super) now: Millis,
    /// Connections are numbered on from here.
    pub(super) sequence: u64,
    pub(super) drain: Option<Drain>,
    /// Connections on their way out.
    pub(super) leaving: Vec<Conn>,
}

/// Why a life of the engine is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is drained.
    Drained,
    /// What it stands on is lost: it begins anew.
    Lost,
}

/// The running shard.
pub(super) struct Engine<B> {
    pub(super) poll: Poll,
    pub(super) bell: Arc<Bell>,
    pub(super) down: Receiver<ToShard>,
    pub(super) spec: ShardSpec,
    pub(super) brain: B,
    pub(super) listener: Option<TcpListener>,
    pub(super) wire: Wire,
    pub(super) topics: Topics,
    pub(super) blobs: HashMap<u64, Blob>,
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<Output>,
    pub(super) inflater: Inflater,
    pub(super) deflater: Deflater,
    /// The one buffer that all sockets are read into.
    pub(super) buffer: Box<[u8]>,
    /// Plaintext of a TLS read.
    pub(super) plain: Vec<u8>,
    pub(super) read_again: Vec<ConnId>,
    pub(super) accept_again: bool,
    /// More came from the backhaul than a turn takes.
    down_again: bool,
    /// Accepting failed for want of something: try again with the next tick.
    pub(super) accept_later: bool,
    /// Connections whose first request is awaited, oldest first.
    pub(super) openings: VecDeque<(Instant, ConnId)>,
    /// Connections that are being closed, oldest first.
    pub(super) closings: VecDeque<(Instant, ConnId)>,
    /// What the turn has for the backhaul, and what found no room on the way up.
    pub(super) up_waiting: VecDeque<ToBackhaul>,
    pub(super) wake_at: Option<Millis>,
    pub(super) now: Millis,
    pub(super) began: Instant,
    pub(super) turn: Instant,
    /// How many there were.
    pub(super) turns: u64,
    pub(super) next_tick: Instant,
    pub(super) ticks: usize,
    /// One more than the highest slot that was ever used.
    pub(super) slots: usize,
    pub(super) sequence: u64,
    pub(super) drain: Option<Drain>,
    pub(super) pace: Pace,
    /// Closed in this turn; their sockets are told when the frames are sent.
    pub(super) closed_now: Vec<ConnId>,
    /// Until then connections are dropped as soon as they come: the shard panicked too often.
    pub(super) paused_until: Option<Instant>,
    /// The backhaul has lost what this shard asked of it.
    pub(super) lost: bool,
}

/// The end, by and by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    pub(super) from: Millis,
    pub(super) until: Millis,
    /// Open connections when it began.
    pub(super) open: usize,
}

impl<B: Brain> Engine<B> {
    pub(super) fn new(base: Base, brain: B) -> Self {
        let Base {
            poll,
            bell,
            down,
            spec,
            listener,
            now: wall,
            sequence,
            drain,
            leaving,
        } = base;
        let sender = send::choose(spec.io_uring);
        tracing::info!(shard = spec.shard, send = sender.name(), "shard runs");
        spec.metrics
            .io_uring
            .set(u64::from(sender.name() == "io_uring"));
        let now = Instant::now();
        let turn_max = spec.turn_max;
        let mut engine = Self {
            wire: Wire {
                conns: Slab::new(),
                outbox: Default::default(),
                sender,
                held: Default::default(),
                short: Vec::new(),
                doomed: Vec::new(),
                bounds: spec.queue,
                queue_bytes: 0,
                metrics: Arc::clone(&spec.metrics),
            },
            poll,
            bell,
            down,
            spec,
            brain,
            listener,
            topics: Topics::default(),
            blobs: HashMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            inflater: Inflater::default(),
            deflater: Deflater::default(),
            buffer: vec![0; READ_BYTES_MAX].into_boxed_slice(),
            plain: Vec::new(),
            read_again: Vec::new(),
            // What came before now rings no more.
            accept_again: true,
            accept_later: false,
            down_again: true,
            slots: 0,
            openings: VecDeque::new(),
            closings: VecDeque::new(),
            up_waiting: VecDeque::new(),
            wake_at: None,
            now: wall,
            began: now,
            turn: now,
            turns: 0,
            next_tick: now,
            ticks: 0,
            sequence,
            drain,
            pace: Pace::new(turn_max, now),
            closed_now: Vec::new(),
            paused_until: None,
            lost: false,
        };
        engine.bell.heard();
        engine.see_off(leaving);
        engine
    }

    /// Runs until it is drained or has lost what it stands on.
    pub(super) fn run(&mut self) -> Result<End, StartError> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.look_at_clock();
        while !self.is_drained() {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, Some(timeout)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            self.look_at_clock();
            self.read_more();
            for event in &events {
                match event.token() {
                    LISTENER => self.accept_again = true,
                    BELL => self.bell.heard(),
                    Token(token) => {
                        let slot = token - FIRST;
                        if event.is_writable() {
                            self.writable(slot);
                        }
                        if event.is_readable() || event.is_error() {
                            self.readable(slot, event.is_read_closed() || event.is_error());
                        }
                    }
                }
            }
            if self.accept_again {
                self.accept();
            }
            let mut worked = !events.is_empty();
            self.down_again = true;
            for _ in 0..DOWN_MAX {
                match self.down.try_recv() {
                    Ok(message) => {
                        worked = true;
                        self.told(message);
                    }
                    Err(_) => {
                        self.down_again = false;
                        break;
                    }
                }
            }
            if self.lost {
                return Ok(End::Lost);
            }
            self.timers();
            self.pace.count(self.turn, self.inputs.len());
            self.turns += 1;
            self.wire.release_due(self.turns);
            self.decide();
            self.flush();
            self.send_up();
            if worked {
                self.rest();
            }
        }
        Ok(End::Drained)
    }

    /// Lets more come together when the shard is busy and nothing of this turn is left.
    fn rest(&mut self) {
        let turn = self.pace.turn();
        if turn.is_zero() || self.timeout().is_zero() {
            return;
        }
        let rest = turn.saturating_sub(self.turn.elapsed());
        if !rest.is_zero() {
            self.bell.rest();
            std::thread::sleep(rest);
            self.bell.heard();
            self.down_again = true;
        }
    }

    /// Hands the turn's inputs to the logic and carries out what it says.
    fn decide(&mut self) {
        if self.inputs.is_empty() {
            return;
        }
        let count = self.inputs.len() as u64;
        let began = Instant::now();
        let mut inputs = std::mem::take(&mut self.inputs);
        let mut outputs = std::mem::take(&mut self.outputs);
        let verdict = self.brain.handle(self.now, &mut inputs, &mut outputs);
        let metrics = &self.spec.metrics;
        metrics
            .handle_us
            .observe(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        metrics.handle_inputs.observe(count);
        inputs.clear();
        // What carrying out brings about is an input of the next turn.
        self.inputs = inputs;
        match verdict {
            Verdict::Fine => {}
            Verdict::Recovered { traps } => {
                tracing::warn!(
                    shard = self.spec.shard,
                    traps,
                    "the session component trapped and was replaced"
                );
            }
            Verdict::Reset => self.reset(),
        }
        for output in outputs.drain(..) {
            self.carry_out(output);
        }
        self.outputs = outputs;
        self.flush();
        self.brain.settle();
    }

    /// Takes the time for this turn; the wall clock never goes back.
    fn look_at_clock(&mut self) {
        self.turn = Instant::now();
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            });
        self.now = self.now.max(Millis(wall));
    }

    /// Seconds since the shard began.
    pub(super) fn second(&self) -> u32 {
        u32::try_from(self.turn.duration_since(self.began).as_secs()).unwrap_or(u32::MAX)
    }

    /// How long the shard may sleep.
    fn timeout(&self) -> Duration {
        if !self.inputs.is_empty()
            || !self.read_again.is_empty()
            || self.accept_again
            || self.down_again
        {
            return Duration::ZERO;
        }
        let mut until = self.next_tick.saturating_duration_since(self.turn);
        for list in [&self.openings, &self.closings] {
            if let Some((at, _)) = list.front() {
                until = until.min(at.saturating_duration_since(self.turn));
            }
        }
        if let Some(at) = self.wake_at {
            until = until.min(Duration::from_millis(at.since(self.now)));
        }
        if self.drain.is_some() || !self.up_waiting.is_empty() {
            until = until.min(Duration::from_millis(50));
        }
        if !self.wire.held.is_empty() {
            until = until.min(self.spec.turn_max);
        }
        until
    }
}
