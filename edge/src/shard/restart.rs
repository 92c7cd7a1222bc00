//! Restarts a shard after a panic. A panic while a connection's own bytes are read closes this connection only. After any
//! other panic the engine is replaced: its viewers are closed with 1001, and a new engine with an empty session continues
//! with the same listener and the same channels to and from the backhaul; nothing else of the old engine is used.
//!
//! Pending posts get no receipt; their senders reconnect and send them again under the same key.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use mio::{Interest, Token};

use super::StartError;
use super::conn::{COUNTED, Conn, ConnId, Flags, IN_BATCH, Phase, WRITE_LATER};
use super::ending::CLOSING;
use super::engine::{Base, Engine, FIRST, StopReason};
use super::flush::Wire;
use super::logic::SessionLogic;
use crate::link::ToBackhaul;
use crate::metrics::ShardMetrics;
use crate::panics::{self, Panic, Restarts};
use crate::ws::{code, frame};

/// Pause before each restart that follows too many panics.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// Runs `work` on the state of one connection. `Err`: it panicked, which is logged and counted; the caller must remove this
/// connection.
pub(super) fn guard<T>(metrics: &ShardMetrics, work: impl FnOnce() -> T) -> Result<T, ()> {
    panics::contained(work).map_err(|panic| {
        metrics.connection_panics.add(1);
        tracing::error!(%panic, "a panic; it costs one connection");
    })
}

/// Runs a shard until it is drained; restarts its engine after a panic or a loss of the backhaul.
pub(super) fn run<L: SessionLogic>(base: Base, logic: L) -> Result<(), StartError> {
    panics::install();
    let shard = base.spec.shard;
    let pop = std::sync::Arc::clone(&base.spec.pop);
    pop.shard_began();
    let mut restarts = Restarts::default();
    let mut engine = Engine::new(base, logic);
    let ended = loop {
        let pause = match panics::contained(|| engine.run()) {
            Ok(Ok(StopReason::Drained)) => break Ok(()),
            Ok(Err(error)) => break Err(error),
            Ok(Ok(StopReason::BackhaulLost)) => Duration::ZERO,
            Err(panic) => panicked(&engine.spec.metrics, shard, &panic, &mut restarts),
        };
        engine = restart(engine, pause, &mut restarts);
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

/// Replaces the engine: the channels and the listener are kept, the session is new and empty, and the old engine's viewers
/// are closed. Tries until a session starts.
fn restart<L: SessionLogic>(
    engine: Engine<L>,
    mut pause: Duration,
    restarts: &mut Restarts,
) -> Engine<L> {
    let (base, old) = engine.into_base();
    loop {
        if !pause.is_zero() {
            std::thread::sleep(RESTART_PAUSE);
        }
        let counted = counted(&base.spec.metrics);
        match panics::contained(|| old.restarted(counted)) {
            Ok(Ok(logic)) => {
                // The old session may be inconsistent, so a panic in its destructor is ignored.
                let _ = panics::contained(|| drop(old));
                let mut engine = Engine::new(base, logic);
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
                pause = restarts.count(Instant::now()).max(RESTART_PAUSE);
            }
            Err(panic) => {
                pause = panicked(&base.spec.metrics, base.spec.shard, &panic, restarts)
                    .max(RESTART_PAUSE);
            }
        }
    }
}

/// The session's counters as of the last tick.
fn counted(metrics: &ShardMetrics) -> BTreeMap<String, u64> {
    let logic = metrics.logic.lock().unwrap_or_else(PoisonError::into_inner);
    logic.1.clone()
}

impl<L: SessionLogic> Engine<L> {
    /// Splits an engine that stopped: channels and listener are kept, connections are counted out, all else is dropped.
    fn into_base(self) -> (Base, L) {
        let Self {
            poll,
            bell,
            messages,
            spec,
            listener,
            mut wire,
            logic,
            now,
            leased,
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
        // Connections whose state may be inconsistent are closed here without a close frame.
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
            messages,
            spec,
            listener,
            // The next session must not mint ids in a millisecond that this one used.
            now: now.plus(1),
            leased,
            sequence,
            drain,
            leaving,
        };
        (base, logic)
    }

    /// Adds the connections of the engine before and closes them as [`Engine::close`] does.
    pub(super) fn close_leaving(&mut self, leaving: Vec<Conn>) {
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
                self.wire.outbox.to_write.push(slot as u32);
            }
            entry.insert(conn);
            if open {
                self.wire.enqueue(slot, Rc::clone(&close), true);
            }
            self.closings.push_back((self.turn_start + CLOSING, id));
            self.closed_now.push(id);
        }
    }

    /// Drops new connections for this time; not at all when it is zero.
    fn pause(&mut self, pause: Duration) {
        if !pause.is_zero() {
            self.paused_until = Some(self.turn_start + pause);
            self.spec.pop.shard_paused();
            self.spec.metrics.shards_paused.set(1);
        }
    }

    /// Ends the pause: connections are accepted again.
    pub(super) fn resume(&mut self) {
        self.paused_until = None;
        self.accept_again = true;
        self.spec.pop.shard_resumed();
        self.spec.metrics.shards_paused.set(0);
    }

    /// Accepts and drops the pending connections: their peers reconnect, perhaps to another shard.
    pub(super) fn drop_pending_accepts(&mut self) {
        while self.listener.accept().is_ok() {
            self.spec.metrics.accept_paused.add(1);
        }
    }
}

impl Wire {
    /// The connections that can still get a close frame after a panic. The frames of the turn are sent first, so that no
    /// frame or TLS record is cut.
    fn leaving(&mut self) -> Vec<Conn> {
        let flushed = panics::contained(|| {
            self.send_due(u64::MAX);
            self.flush();
        });
        let conns = std::mem::take(&mut self.conns);
        conns
            .into_iter()
            .map(|(_, conn)| conn)
            .filter(|conn| conn.phase != Phase::Opening)
            // It is not known how much of the batch these sockets accepted.
            .filter(|conn| flushed.is_ok() || !conn.flags.has(IN_BATCH))
            .map(|mut conn| {
                if conn.phase == Phase::Open
                    && let Some(queue) = &mut conn.queue
                {
                    queue.keep_partly_sent();
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
