//! A shard outlives its panics. One while a connection's own bytes are read costs that connection; any other ends a life
//! of the engine: its viewers get a 1001, and a new engine with a clean session goes on with the same listener, the same
//! ways to and from the backhaul, and nothing else of the old one.
//!
//! Posts that were in flight get no answer; their senders reconnect and send them again under the same key.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use mio::{Interest, Token};

use super::StartError;
use super::brain::Brain;
use super::conn::{COUNTED, Conn, ConnId, Flags, IN_BATCH, Phase, WRITE_LATER};
use super::ending::CLOSING;
use super::engine::{Base, End, Engine, FIRST};
use super::flush::Wire;
use crate::link::ToBackhaul;
use crate::metrics::ShardMetrics;
use crate::panics::{self, Panic, Restarts};
use crate::ws::{code, frame};

/// Rest before each life that follows too many panics, however they come about.
const REST: Duration = Duration::from_millis(100);

/// Does `work` on what one connection owns, or logs and counts that it panicked; then that connection must be removed.
pub(super) fn guard<T>(metrics: &ShardMetrics, work: impl FnOnce() -> T) -> Result<T, ()> {
    panics::contained(work).map_err(|panic| {
        metrics.connection_panics.add(1);
        tracing::error!(%panic, "a panic; it costs one connection");
    })
}

/// Runs a shard, one life after the other, until it is drained.
pub(super) fn run<B: Brain>(base: Base, brain: B) -> Result<(), StartError> {
    panics::install();
    let shard = base.spec.shard;
    let pop = std::sync::Arc::clone(&base.spec.pop);
    pop.shard_began();
    let mut restarts = Restarts::default();
    let mut engine = Engine::new(base, brain);
    let ended = loop {
        let pause = match panics::contained(|| engine.run()) {
            Ok(Ok(End::Drained)) => break Ok(()),
            Ok(Err(error)) => break Err(error),
            Ok(Ok(End::Lost)) => Duration::ZERO,
            Err(panic) => panicked(&engine.spec.metrics, shard, &panic, &mut restarts),
        };
        engine = anew(engine, pause, &mut restarts);
    };
    pop.shard_ended();
    ended
}

fn panicked(metrics: &ShardMetrics, shard: u8, panic: &Panic, restarts: &mut Restarts) -> Duration {
    metrics.shard_panics.add(1);
    let pause = restarts.count(Instant::now());
    tracing::error!(shard, %panic, ?pause, "the shard panicked; its viewers are closed with 1001 and it begins anew");
    pause
}

/// The next life: the same ends, a clean session, and the old life's viewers on their way out.
fn anew<B: Brain>(engine: Engine<B>, mut pause: Duration, restarts: &mut Restarts) -> Engine<B> {
    let (base, old) = engine.into_base();
    loop {
        if !pause.is_zero() {
            std::thread::sleep(REST);
        }
        let counted = counted(&base.spec.metrics);
        match panics::contained(|| old.fresh(counted)) {
            Ok(Ok(brain)) => {
                // The old one may be in any state: what it does when it is dropped is its own affair.
                let _ = panics::contained(|| drop(old));
                let mut engine = Engine::new(base, brain);
                let shard = engine.spec.shard;
                engine.tell_backhaul(ToBackhaul::Restarted { shard });
                engine.pause(pause);
                return engine;
            }
            Ok(Err(error)) => {
                tracing::error!(
                    shard = base.spec.shard,
                    error,
                    "the session does not start again"
                );
                pause = restarts.count(Instant::now()).max(REST);
            }
            Err(panic) => {
                pause = panicked(&base.spec.metrics, base.spec.shard, &panic, restarts).max(REST);
            }
        }
    }
}

/// What the session had counted, as of the last second.
fn counted(metrics: &ShardMetrics) -> BTreeMap<String, u64> {
    let logic = metrics.logic.lock().unwrap_or_else(PoisonError::into_inner);
    logic.1.clone()
}

impl<B: Brain> Engine<B> {
    /// Takes apart what panicked: the ends are kept, the connections are counted out, all else is dropped.
    fn into_base(self) -> (Base, B) {
        let Self {
            poll,
            bell,
            down,
            spec,
            listener,
            mut wire,
            brain,
            now,
            sequence,
            drain,
            paused_until,
            ..
        } = self;
        let sockets = wire.conns.len();
        let counted = |conn: &Conn| conn.flags.has(COUNTED);
        let viewers = wire.conns.iter().filter(|(_, conn)| counted(conn)).count();
        let metrics = &spec.metrics;
        for _ in 0..metrics.connections.get() {
            metrics.count_closed(code::GOING_AWAY);
        }
        metrics.connections.set(0);
        let leaving = panics::contained(|| wire.leaving()).unwrap_or_default();
        // Those whose state cannot be relied on end here, without a word.
        let _ = panics::contained(|| drop(wire));
        for _ in leaving.len()..sockets {
            spec.pop.socket_closed();
        }
        for _ in 0..viewers {
            spec.pop.viewer_left();
        }
        if paused_until.is_some() {
            spec.pop.shard_resumed();
            spec.metrics.shards_paused.set(0);
        }
        let base = Base {
            poll,
            bell,
            down,
            spec,
            listener,
            // The next life mints no id of a millisecond of the last one.
            now: now.plus(1),
            sequence,
            drain,
            leaving,
        };
        (base, brain)
    }

    /// Takes over the connections of the life before, to end them as [`Engine::close`] does.
    pub(super) fn see_off(&mut self, leaving: Vec<Conn>) {
        let mut close = Vec::new();
        frame::write_close(code::GOING_AWAY, "reconnect", &mut close);
        let close: Rc<[u8]> = Rc::from(close);
        for mut conn in leaving {
            let entry = self.wire.conns.vacant_entry();
            let slot = entry.key();
            let token = Token(slot + FIRST);
            let both = Interest::READABLE | Interest::WRITABLE;
            let registered = (self.poll.registry()).reregister(&mut conn.socket, token, both);
            if registered.is_err() {
                self.spec.pop.socket_closed();
                continue;
            }
            self.slots = self.slots.max(slot + 1);
            self.sequence += 1;
            let id = ConnId::new(self.sequence, self.spec.shard, slot);
            conn.id = id;
            let open = conn.phase == Phase::Open;
            conn.phase = Phase::Closing;
            if let Some(queue) = &mut conn.queue {
                queue.blocked = false;
                self.wire.queue_bytes += queue.bytes();
                conn.flags.set(WRITE_LATER);
                self.wire.outbox.later.push(slot as u32);
            }
            entry.insert(conn);
            if open {
                self.wire.enqueue(slot, Rc::clone(&close), true);
            }
            self.closings.push_back((self.turn + CLOSING, id));
            self.closed_now.push(id);
        }
    }

    /// Drops connections as they come for so long.
    fn pause(&mut self, pause: Duration) {
        if !pause.is_zero() {
            self.paused_until = Some(self.turn + pause);
            self.spec.pop.shard_paused();
            self.spec.metrics.shards_paused.set(1);
        }
    }

    /// The pause is over.
    pub(super) fn resume(&mut self) {
        self.paused_until = None;
        self.accept_again = true;
        self.spec.pop.shard_resumed();
        self.spec.metrics.shards_paused.set(0);
    }

    /// Drops what waits to be accepted: whoever it is tries again, and may come to another shard.
    pub(super) fn turn_away(&mut self) {
        while let Some(listener) = &self.listener
            && listener.accept().is_ok()
        {
            self.spec.metrics.accept_paused.add(1);
        }
    }
}

impl Wire {
    /// The connections that can still be told something, after a panic. What the turn had for them goes first, so that
    /// nothing is cut within a frame or a record.
    fn leaving(&mut self) -> Vec<Conn> {
        let flushed = panics::contained(|| {
            self.release_due(u64::MAX);
            self.flush();
        });
        let conns = std::mem::take(&mut self.conns);
        conns
            .into_iter()
            .map(|(_, conn)| conn)
            .filter(|conn| conn.phase != Phase::Opening)
            // Whether they got their part of the batch is not known.
            .filter(|conn| flushed.is_ok() || !conn.flags.has(IN_BATCH))
            .map(|mut conn| {
                if conn.phase == Phase::Open
                    && let Some(queue) = &mut conn.queue
                {
                    queue.keep_begun();
                }
                Conn {
                    flags: Flags::default(),
                    reader: Default::default(),
                    memberships: Default::default(),
                    opening: None,
                    heard_s: 0,
                    job: 0,
                    ..conn
                }
            })
            .collect()
    }
}
