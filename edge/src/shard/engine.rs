//! The shard's state and its event loop.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use chorus_protocol::Millis;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use tokio::sync::mpsc;

use super::apply::Blob;
use super::conn::{Conn, ConnId};
use super::flush::Wire;
use super::logic::SessionLogic;
use super::pace::Pace;
use super::queue::QueueBounds;
use super::restart;
use super::send::{self, IoUring};
use super::topics::Topics;
use crate::component::{Input, Output, Verdict};
use crate::http::Handover;
use crate::link::{BackhaulSender, Bell, ShardHandle, ShardId, ToBackhaul, ToShard};
use crate::metrics::ShardMetrics;
use crate::pop::PopState;
use crate::ws::deflate::{Deflater, Inflater};
use crate::ws::handshake::Origins;

/// The listener's token.
pub(super) const LISTENER: Token = Token(0);
/// The token of the bell, which wakes the shard.
const BELL: Token = Token(1);
/// The token of a connection is its slot plus this.
pub(super) const FIRST: usize = 2;
/// Events of one poll.
const EVENTS_MAX: usize = 1_024;
/// Bytes read from one socket in one turn; the remaining ones are read in the next.
pub(super) const READ_BYTES_MAX: usize = 16 << 10;
/// Inputs of one turn at which no further socket is read; the other sockets are read in the next turn.
pub(super) const INPUTS_MAX: usize = 4_096;
/// Messages from the backhaul handled in one turn.
const MESSAGES_MAX: usize = 512;

/// What a shard needs to start.
pub struct ShardSpec {
    /// Its number, 0 to 15.
    pub shard: ShardId,
    /// The TLS configuration; `None`: connections are not encrypted.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Bytes of a viewer's message, at most.
    pub message_bytes_max: usize,
    /// Bounds of a viewer's queue.
    pub queue: QueueBounds,
    /// `Origin`s that may connect.
    pub origins: Origins,
    /// Whether to use `io_uring`.
    pub io_uring: IoUring,
    /// The minimum length of a turn under full load (`turn_ms_max`).
    pub turn_max: Duration,
    /// Counters and states that all shards of the process share.
    pub pop: Arc<PopState>,
    /// This shard's metrics.
    pub metrics: Arc<ShardMetrics>,
    /// The channel to the backhaul.
    pub to_backhaul: BackhaulSender,
    /// The channel to the HTTP server, for connections whose request is no WebSocket upgrade.
    pub http: mpsc::Sender<Handover>,
}

/// Why a shard cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system refuses a reactor.
    #[error("the reactor cannot be set up: {0}")]
    Reactor(#[from] io::Error),
}

/// A shard whose thread has not started yet.
pub struct Shard {
    poll: Poll,
    bell: Arc<Bell>,
    messages: Receiver<ToShard>,
    listener: std::net::TcpListener,
    spec: ShardSpec,
}

impl Shard {
    /// Sets up the reactor and the channel to the shard. `listener` is the shard's own on the PoP's port. Messages can be
    /// sent through the handle from now on.
    ///
    /// # Errors
    /// When the system refuses a reactor.
    pub fn new(
        spec: ShardSpec,
        listener: std::net::TcpListener,
    ) -> Result<(Self, ShardHandle), StartError> {
        let poll = Poll::new()?;
        let bell = Arc::new(Bell::new(Waker::new(poll.registry(), BELL)?));
        let (handle, messages) = ShardHandle::channel(Arc::clone(&bell));
        Ok((
            Self {
                poll,
                bell,
                messages,
                listener,
                spec,
            },
            handle,
        ))
    }

    /// Runs until the shard is drained. Call it on the shard's own thread.
    ///
    /// # Errors
    /// When the reactor fails, which ends the process.
    pub fn run<L: SessionLogic>(self, logic: L) -> Result<(), StartError> {
        let Self {
            poll,
            bell,
            messages,
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
            messages,
            spec,
            listener,
            now: Millis(0),
            leased: false,
            sequence: 0,
            drain: None,
            leaving: Vec::new(),
        };
        restart::run(base, logic)
    }
}

/// What a shard keeps after a panic: its channels, its listener and counters, but no state of the session.
pub(super) struct Base {
    pub(super) poll: Poll,
    pub(super) bell: Arc<Bell>,
    pub(super) messages: Receiver<ToShard>,
    pub(super) spec: ShardSpec,
    pub(super) listener: TcpListener,
    /// The shard's time. It does not go back once ids may be minted with it.
    pub(super) now: Millis,
    /// Whether ids could be minted already.
    pub(super) leased: bool,
    /// The sequence number of the last connection.
    pub(super) sequence: u64,
    pub(super) drain: Option<Drain>,
    /// Connections that the next engine closes.
    pub(super) leaving: Vec<Conn>,
}

/// Why the engine stopped without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// The shard is drained.
    Drained,
    /// The backhaul lost the shard's subscriptions and requests, so the shard restarts.
    BackhaulLost,
}

/// The running shard.
pub(super) struct Engine<L> {
    pub(super) poll: Poll,
    pub(super) bell: Arc<Bell>,
    pub(super) messages: Receiver<ToShard>,
    pub(super) spec: ShardSpec,
    pub(super) logic: L,
    pub(super) listener: TcpListener,
    pub(super) wire: Wire,
    pub(super) topics: Topics,
    pub(super) blobs: HashMap<u64, Blob>,
    pub(super) inputs: Vec<Input>,
    pub(super) outputs: Vec<Output>,
    pub(super) inflater: Inflater,
    pub(super) deflater: Deflater,
    /// The buffer that all sockets are read into.
    pub(super) buffer: Box<[u8]>,
    /// Plaintext of a TLS read.
    pub(super) plain: Vec<u8>,
    pub(super) read_again: Vec<ConnId>,
    pub(super) accept_again: bool,
    /// The channel from the backhaul may hold more messages than this turn handled.
    more_messages: bool,
    /// Accepting failed for lack of descriptors or memory; it is tried again with the next tick.
    pub(super) accept_later: bool,
    /// Connections whose first request is incomplete, with their deadlines, oldest first.
    pub(super) openings: VecDeque<(Instant, ConnId)>,
    /// Connections that are being closed, with their deadlines, oldest first.
    pub(super) closings: VecDeque<(Instant, ConnId)>,
    /// Messages to the backhaul: those of this turn, and those that found the channel full.
    pub(super) pending: VecDeque<ToBackhaul>,
    /// Publications whose outcome the session does not know yet, and whose they are. The session bounds them.
    pub(super) unanswered: HashMap<u64, ConnId>,
    /// Publications whose outcome is among the next inputs.
    pub(super) answered: Vec<u64>,
    pub(super) wake_at: Option<Millis>,
    pub(super) now: Millis,
    /// Whether ids could be minted already.
    pub(super) leased: bool,
    pub(super) began: Instant,
    pub(super) turn_start: Instant,
    /// The number of the current turn, counted from the engine's start.
    pub(super) turns: u64,
    pub(super) next_tick: Instant,
    pub(super) ticks: usize,
    /// One more than the highest slot that was ever used.
    pub(super) slots: usize,
    pub(super) sequence: u64,
    pub(super) drain: Option<Drain>,
    pub(super) pace: Pace,
    /// Closed in this turn; their sockets are shut down for writing after the frames are sent.
    pub(super) closed_now: Vec<ConnId>,
    /// Until then new connections are dropped, because the shard panicked too often.
    pub(super) paused_until: Option<Instant>,
    /// The backhaul lost the subscriptions and requests of this shard.
    pub(super) backhaul_lost: bool,
}

/// A drain: connections are closed evenly over `grace`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    pub(super) began: Instant,
    pub(super) grace: Duration,
    /// Open connections at its start.
    pub(super) open: usize,
}

impl<L: SessionLogic> Engine<L> {
    pub(super) fn new(base: Base, logic: L) -> Self {
        let Base {
            poll,
            bell,
            messages,
            spec,
            listener,
            now: wall,
            leased,
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
                deferred: Default::default(),
                short: Vec::new(),
                to_remove: Vec::new(),
                bounds: spec.queue,
                queue_bytes: 0,
                metrics: Arc::clone(&spec.metrics),
            },
            poll,
            bell,
            messages,
            spec,
            logic,
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
            // The bell does not ring again for connections and messages that came before, so both are looked for once.
            accept_again: true,
            accept_later: false,
            more_messages: true,
            slots: 0,
            openings: VecDeque::new(),
            closings: VecDeque::new(),
            pending: VecDeque::new(),
            unanswered: HashMap::new(),
            answered: Vec::new(),
            wake_at: None,
            now: wall,
            leased,
            began: now,
            turn_start: now,
            turns: 0,
            next_tick: now,
            ticks: 0,
            sequence,
            drain,
            pace: Pace::new(turn_max, now),
            closed_now: Vec::new(),
            paused_until: None,
            backhaul_lost: false,
        };
        engine.bell.heard();
        engine.close_leaving(leaving);
        engine
    }

    /// Runs until the shard is drained or the backhaul lost its subscriptions and requests.
    pub(super) fn run(&mut self) -> Result<StopReason, StartError> {
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
            self.read_remaining();
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
            self.more_messages = true;
            for _ in 0..MESSAGES_MAX {
                match self.messages.try_recv() {
                    Ok(message) => {
                        worked = true;
                        self.handle_message(message);
                    }
                    Err(_) => {
                        self.more_messages = false;
                        break;
                    }
                }
            }
            if self.backhaul_lost {
                return Ok(StopReason::BackhaulLost);
            }
            self.timers();
            self.pace.count(self.turn_start, self.inputs.len());
            self.turns += 1;
            self.wire.send_due(self.turns);
            self.decide();
            self.flush();
            self.send_pending();
            if worked {
                self.wait_for_batch();
            }
        }
        Ok(StopReason::Drained)
    }

    /// Sleeps until the turn has its minimum length, up to `turn_ms_max`, so that inputs that arrive meanwhile are handled
    /// as one batch. Returns at once when the shard is not busy or has work left.
    fn wait_for_batch(&mut self) {
        let turn = self.pace.turn_min();
        if turn.is_zero() || self.timeout().is_zero() {
            return;
        }
        let pause = turn.saturating_sub(self.turn_start.elapsed());
        if !pause.is_zero() {
            self.bell.rest();
            std::thread::sleep(pause);
            self.bell.heard();
            self.more_messages = true;
        }
    }

    /// Passes the turn's inputs to the logic and applies its outputs.
    fn decide(&mut self) {
        if self.inputs.is_empty() {
            return;
        }
        let count = self.inputs.len() as u64;
        let began = Instant::now();
        let mut inputs = std::mem::take(&mut self.inputs);
        let answered = std::mem::take(&mut self.answered);
        let mut outputs = std::mem::take(&mut self.outputs);
        let verdict = self.logic.handle(self.now, &mut inputs, &mut outputs);
        let metrics = &self.spec.metrics;
        metrics
            .handle_us
            .observe(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        metrics.handle_inputs.observe(count);
        inputs.clear();
        // Inputs that the outputs cause are handled in the next turn.
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
            self.apply(output);
        }
        self.outputs = outputs;
        for request in answered {
            self.unanswered.remove(&request);
        }
        self.flush();
        self.logic.settle();
    }

    /// Reads the clocks for this turn; once ids may be minted, `now` does not go back.
    fn look_at_clock(&mut self) {
        self.turn_start = Instant::now();
        let now = self.spec.pop.clock().now();
        self.now = if self.leased { self.now.max(now) } else { now };
    }

    /// Seconds since the engine started.
    pub(super) fn second(&self) -> u32 {
        u32::try_from(self.turn_start.duration_since(self.began).as_secs()).unwrap_or(u32::MAX)
    }

    /// How long the next poll may wait for events.
    fn timeout(&self) -> Duration {
        if !self.inputs.is_empty()
            || !self.read_again.is_empty()
            || self.accept_again
            || self.more_messages
        {
            return Duration::ZERO;
        }
        let mut until = self.next_tick.saturating_duration_since(self.turn_start);
        for list in [&self.openings, &self.closings] {
            if let Some((at, _)) = list.front() {
                until = until.min(at.saturating_duration_since(self.turn_start));
            }
        }
        if let Some(at) = self.wake_at {
            until = until.min(Duration::from_millis(at.since(self.now)));
        }
        if self.drain.is_some() || !self.pending.is_empty() {
            until = until.min(Duration::from_millis(50));
        }
        if !self.wire.deferred.is_empty() {
            until = until.min(self.spec.turn_max);
        }
        until
    }
}
