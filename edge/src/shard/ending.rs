//! How connections end: politely with a close frame, by force, or all of them with the PoP.

use std::io::Write;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use super::brain::Brain;
use super::conn::{COUNTED, Conn, ConnId, IN_BATCH, Phase};
use super::engine::{Drain, Engine};
use super::lives::guard;
use crate::component::Input;
use crate::link::ToBackhaul;
use crate::ws::{code, frame};

/// From our close frame to a reset, unless the peer ends the connection before.
pub(super) const CLOSING: Duration = Duration::from_secs(5);
/// What a drain leaves for close frames to be taken after its time.
const LAST_MS: u64 = 1_000;

impl<B: Brain> Engine<B> {
    /// Sends a close frame and lets the connection go.
    pub(super) fn close(&mut self, id: ConnId, code: u16, reason: &str) {
        if !self.leave(id, code) {
            return;
        }
        // Whatever the viewer was told before comes before the close frame.
        self.wire.release(id.slot());
        let frame = self
            .wire
            .outbox
            .build(|into| frame::write_close(code, reason, into));
        let data = self.wire.outbox.share(frame);
        self.last_words(id, frame, data);
    }

    /// Sends something that is not a close frame, after which the connection ends: a refused upgrade's answer.
    pub(super) fn refuse(&mut self, id: ConnId, write: impl FnOnce(&mut Vec<u8>)) {
        if self.wire.find(id).is_none() {
            return;
        }
        let frame = self.wire.outbox.build(write);
        let data = self.wire.outbox.share(frame);
        self.last_words(id, frame, data);
    }

    fn last_words(&mut self, id: ConnId, frame: super::outbox::FrameRef, data: Rc<[u8]>) {
        let Some(conn) = self.wire.find(id) else {
            return;
        };
        conn.phase = Phase::Closing;
        conn.reader = Default::default();
        conn.opening = None;
        if conn.queue.is_some() || conn.flags.has(IN_BATCH) {
            // Beyond the bound if need be: it is the last.
            self.wire.enqueue(id.slot(), data, true);
        } else {
            self.wire.push(id.slot(), frame);
        }
        self.closings.push_back((self.turn + CLOSING, id));
        self.closed_now.push(id);
    }

    /// The queue of a viewer is full: it gets the rest of the frame it has begun to get, and its close code.
    pub(super) fn lagged(&mut self, id: ConnId) {
        let Some(conn) = self.wire.find(id).filter(|conn| conn.phase == Phase::Open) else {
            return;
        };
        if let Some(queue) = &mut conn.queue {
            let before = queue.bytes();
            queue.keep_begun();
            let freed = before - queue.bytes();
            self.wire.queue_bytes = self.wire.queue_bytes.saturating_sub(freed);
        }
        self.spec.metrics.queue_overflows.add(1);
        self.inputs.push(Input::Lagged(id.0));
        self.close(id, code::TOO_SLOW, "too slow a reader");
    }

    /// Ends a connection at once.
    pub(super) fn remove(&mut self, id: ConnId) {
        self.leave(id, 0);
        let Some(conn) = self.wire.find(id) else {
            return;
        };
        if conn.flags.has(IN_BATCH) {
            // Its frame is still in the batch: the socket must live until that is sent.
            self.wire.flush();
        }
        if let Some(mut conn) = self.wire.take_out(id.slot()) {
            if let Err(error) = self.poll.registry().deregister(&mut conn.socket) {
                tracing::debug!(%error, "a socket was not registered");
            }
            self.spec.pop.socket_closed();
        }
    }

    /// The peer broke TLS: it gets the alert and the socket's end. Closed at once, a socket that still has something to
    /// read would send a reset, which may overtake the alert.
    pub(super) fn fail_tls(&mut self, id: ConnId, alert: &[u8]) {
        if !self.leave(id, 0) {
            return;
        }
        let Some(conn) = self.wire.find(id) else {
            return;
        };
        // The alert must not overtake records that wait.
        let waits = conn.queue.is_some() || conn.flags.has(IN_BATCH);
        let told = !waits
            && !alert.is_empty()
            && conn
                .socket
                .write(alert)
                .is_ok_and(|count| count == alert.len())
            && conn.socket.shutdown(Shutdown::Write).is_ok();
        if !told {
            return self.remove(id);
        }
        conn.phase = Phase::Closing;
        conn.tls = None;
        conn.opening = None;
        self.closings.push_back((self.turn + CLOSING, id));
    }

    /// Takes an open connection out of its topics and tells the session; false when there is none to close.
    fn leave(&mut self, id: ConnId, code: u16) -> bool {
        let Some(conn) = self.wire.find(id) else {
            return false;
        };
        match conn.phase {
            Phase::Closing => return false,
            Phase::Opening => return true,
            Phase::Open => {}
        }
        conn.phase = Phase::Closing;
        if conn.flags.has(COUNTED) {
            conn.flags.clear(COUNTED);
            self.spec.pop.viewer_left();
        }
        for membership in std::mem::take(&mut conn.memberships).as_slice() {
            self.leave_topic(membership.topic, membership.group, membership.index);
        }
        self.inputs.push(Input::Closed(id.0));
        let metrics = &self.spec.metrics;
        metrics
            .connections
            .set(metrics.connections.get().saturating_sub(1));
        metrics.count_closed(code);
        true
    }

    /// Closes a place in a topic's list.
    pub(super) fn leave_topic(&mut self, topic: u32, group: u8, index: u32) {
        let moved = self
            .topics
            .get_mut(topic)
            .and_then(|it| it.remove(group, index));
        if let Some(slot) = moved
            && let Some(conn) = self.wire.conns.get_mut(slot as usize)
            && let Some(membership) = conn.memberships.find(topic)
        {
            membership.index = index;
        }
    }

    /// The close frames of this turn are sent or queued: says so to the sockets that took theirs.
    pub(super) fn finish_closings(&mut self) {
        for id in std::mem::take(&mut self.closed_now) {
            self.wire_closing(id);
        }
    }

    /// Ends our side of the socket once the close frame is taken.
    pub(super) fn wire_closing(&mut self, id: ConnId) {
        if let Some(conn) = self.wire.find(id)
            && conn.phase == Phase::Closing
            && conn.queue.is_none()
        {
            if let Some(session) = &mut conn.tls {
                let mut bytes = Vec::new();
                // If it panics or the socket does not take it, the peer sees the end without it, after a whole close
                // frame.
                let _ = guard(&self.spec.metrics, || session.close_notify(&mut bytes));
                let _ = conn.socket.write(&bytes);
            }
            if conn.socket.shutdown(Shutdown::Write).is_err() {
                self.remove(id);
            }
        }
    }

    /// The peer did not end a connection that we have closed: a reset.
    pub(super) fn reset_connection(&mut self, id: ConnId) {
        if let Some(conn) = self.wire.find(id) {
            self.spec.metrics.closing_timed_out.add(1);
            set_linger_zero(conn);
            self.remove(id);
        }
    }

    /// The session's state is lost: every viewer reconnects, and all that the session had asked for is given up.
    pub(super) fn reset(&mut self) {
        tracing::error!(
            shard = self.spec.shard,
            "the session's state is lost; its viewers are closed with 1001"
        );
        for id in self.open() {
            self.close(id, code::GOING_AWAY, "reconnect");
        }
        // The clean instance has never heard of these connections.
        self.inputs.clear();
        for stream in self.topics.clear() {
            self.tell_backhaul(ToBackhaul::Unsubscribe {
                shard: self.spec.shard,
                stream,
            });
        }
        self.blobs.clear();
        self.wake_at = None;
    }

    fn open(&self) -> Vec<ConnId> {
        let conns = self.wire.conns.iter();
        conns
            .filter(|(_, conn)| conn.phase == Phase::Open)
            .map(|(_, conn)| conn.id)
            .collect()
    }

    /// Takes no new connection and begins to close the others.
    pub(super) fn begin_drain(&mut self, until: chorus_protocol::Millis) {
        if let Some(mut listener) = self.listener.take()
            && let Err(error) = self.poll.registry().deregister(&mut listener)
        {
            tracing::debug!(%error, "the listener was not registered");
        }
        let open = self
            .wire
            .conns
            .iter()
            .filter(|(_, conn)| conn.phase == Phase::Open)
            .count();
        self.drain = Some(Drain {
            from: self.now,
            until,
            open,
        });
    }

    /// Closes as many as it is time for.
    pub(super) fn go_on_draining(&mut self) {
        let Some(drain) = self.drain else {
            return;
        };
        let whole = drain.until.since(drain.from);
        let left = drain.until.since(self.now);
        // Evenly over the time, so that those who reconnect do not come all at once.
        let keep = if left == 0 {
            0
        } else {
            usize::try_from(drain.open as u64 * left / whole.max(1)).unwrap_or(0)
        };
        let open = self.open();
        for id in open.into_iter().skip(keep) {
            self.close(id, code::GOING_AWAY, "the server goes away");
        }
    }

    /// Nothing is left to do.
    pub(super) fn is_drained(&self) -> bool {
        self.drain.is_some_and(|drain| {
            self.now >= drain.until.plus(LAST_MS)
                || self
                    .wire
                    .conns
                    .iter()
                    .all(|(_, conn)| conn.phase == Phase::Opening)
                    && self.inputs.is_empty()
        })
    }
}

fn set_linger_zero(conn: &Conn) {
    let socket = socket2::SockRef::from(&conn.socket);
    if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a socket cannot be reset");
    }
}
