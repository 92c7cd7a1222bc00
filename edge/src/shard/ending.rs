//! How connections end: with a close frame, at once, or all of them in a drain.

use std::collections::HashSet;
use std::io::Write;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use super::conn::{COUNTED, Conn, ConnId, IN_BATCH, Phase};
use super::engine::{Drain, Engine};
use super::logic::SessionLogic;
use super::restart::guard;
use crate::component::Input;
use crate::link::ToBackhaul;
use crate::ws::{code, frame};

/// Time from our close frame to a TCP reset, unless the peer ends the connection before.
pub(super) const CLOSING: Duration = Duration::from_secs(5);
/// Time after the end of a drain in which close frames can still be sent.
const LAST: Duration = Duration::from_secs(1);

impl<L: SessionLogic> Engine<L> {
    /// Sends a close frame and begins to close the connection.
    pub(super) fn close(&mut self, id: ConnId, code: u16, reason: &str) {
        if !self.leave(id, code) {
            return;
        }
        // A deferred frame goes before the close frame.
        self.wire.send_deferred(id.slot());
        let frame = self
            .wire
            .outbox
            .build(|into| frame::write_close(code, reason, into));
        let data = self.wire.outbox.share(frame);
        self.send_last(id, frame, data);
    }

    /// Sends the HTTP answer that refuses an upgrade, and begins to close the connection.
    pub(super) fn refuse(&mut self, id: ConnId, write: impl FnOnce(&mut Vec<u8>)) {
        if self.wire.find(id).is_none() {
            return;
        }
        let frame = self.wire.outbox.build(write);
        let data = self.wire.outbox.share(frame);
        self.send_last(id, frame, data);
    }

    fn send_last(&mut self, id: ConnId, frame: super::outbox::FrameRef, data: Rc<[u8]>) {
        let Some(conn) = self.wire.find(id) else {
            return;
        };
        conn.phase = Phase::Closing;
        conn.reader = Default::default();
        conn.opening = None;
        if conn.queue.is_some() || conn.flags.has(IN_BATCH) {
            // The last frame is queued even if the queue is full.
            self.wire.enqueue(id.slot(), data, true);
        } else {
            self.wire.push(id.slot(), frame);
        }
        self.closings.push_back((self.turn_start + CLOSING, id));
        self.closed_now.push(id);
    }

    /// Closes a viewer whose queue is full: the remaining bytes of a partly sent frame are kept, then comes the close frame.
    pub(super) fn close_lagging(&mut self, id: ConnId) {
        let Some(conn) = self.wire.find(id).filter(|conn| conn.phase == Phase::Open) else {
            return;
        };
        if let Some(queue) = &mut conn.queue {
            let before = queue.bytes();
            queue.keep_partly_sent();
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
            // Its frame is still in the batch, so the socket must stay open until the batch is sent.
            self.wire.flush();
        }
        if let Some(mut conn) = self.wire.remove(id.slot()) {
            if let Err(error) = self.poll.registry().deregister(&mut conn.socket) {
                tracing::debug!(%error, "a socket was not registered");
            }
            self.spec.pop.socket_closed();
        }
    }

    /// Ends a connection after a TLS error of the peer: sends the alert and shuts the socket down for writing. A socket
    /// that is closed while it has unread bytes sends a reset, which may overtake the alert.
    pub(super) fn fail_tls(&mut self, id: ConnId, alert: &[u8]) {
        if !self.leave(id, 0) {
            return;
        }
        let Some(conn) = self.wire.find(id) else {
            return;
        };
        // The alert must not overtake queued records.
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
        self.closings.push_back((self.turn_start + CLOSING, id));
    }

    /// Removes an open connection from its topics and tells the session; `false` when it is closing already or gone.
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

    /// Removes a member from a topic and corrects the index of the member that is moved to its position.
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

    /// Shuts down, for writing, the sockets whose close frame of this turn was sent completely.
    pub(super) fn finish_closings(&mut self) {
        for id in std::mem::take(&mut self.closed_now) {
            self.shut_down_write(id);
        }
    }

    /// Shuts the socket of a closing connection down for writing if nothing is queued any more.
    pub(super) fn shut_down_write(&mut self, id: ConnId) {
        if let Some(conn) = self.wire.find(id)
            && conn.phase == Phase::Closing
            && conn.queue.is_none()
        {
            if let Some(session) = &mut conn.tls {
                let mut bytes = Vec::new();
                // If this panics or the socket accepts no bytes, the peer sees the end of the connection without a
                // `close_notify`, but after a complete close frame.
                let _ = guard(&self.spec.metrics, || session.close_notify(&mut bytes));
                let _ = conn.socket.write(&bytes);
            }
            if conn.socket.shutdown(Shutdown::Write).is_err() {
                self.remove(id);
            }
        }
    }

    /// Resets a connection that the peer did not end within [`CLOSING`].
    pub(super) fn reset_connection(&mut self, id: ConnId) {
        if let Some(conn) = self.wire.find(id) {
            self.spec.metrics.closing_timed_out.add(1);
            set_linger_zero(conn);
            self.remove(id);
        }
    }

    /// Handles the loss of the session's state: closes every viewer with 1001, so that it reconnects, and drops the
    /// session's topics, subscriptions, blobs and timer.
    pub(super) fn reset(&mut self) {
        tracing::error!(
            shard = self.spec.shard,
            "the session's state is lost; its viewers are closed with 1001"
        );
        for id in self.open_connections() {
            self.close(id, code::GOING_AWAY, "reconnect");
        }
        // The new instance does not know these connections, so it must not see that they closed.
        self.inputs.clear();
        for stream in self.topics.clear() {
            self.tell_backhaul(ToBackhaul::Unsubscribe {
                shard: self.spec.shard,
                stream,
            });
        }
        self.blobs.clear();
        self.unanswered.clear();
        self.wake_at = None;
    }

    fn open_connections(&self) -> Vec<ConnId> {
        let conns = self.wire.conns.iter();
        conns
            .filter(|(_, conn)| conn.phase == Phase::Open)
            .map(|(_, conn)| conn.id)
            .collect()
    }

    /// Starts a drain: upgrades are refused from now on, and the viewers are closed evenly over `grace`.
    pub(super) fn begin_drain(&mut self, grace: Duration) {
        self.drain = Some(Drain {
            began: self.turn_start,
            grace,
            open: self.open_connections().len(),
        });
    }

    /// Closes the connections that are due by now in a drain. Those with an unanswered publication wait for its outcome, at
    /// most until the drain's end.
    pub(super) fn continue_drain(&mut self) {
        let Some(drain) = self.drain else {
            return;
        };
        let left = drain
            .grace
            .saturating_sub(self.turn_start.duration_since(drain.began));
        let keep = drain.open as u128 * left.as_nanos() / drain.grace.as_nanos().max(1);
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        let open = self.open_connections();
        let due = open.len().saturating_sub(keep);
        if due == 0 {
            return;
        }
        let waiting: HashSet<ConnId> = if left.is_zero() {
            HashSet::new()
        } else {
            self.unanswered.values().copied().collect()
        };
        for id in open
            .into_iter()
            .filter(|id| !waiting.contains(id))
            .take(due)
        {
            self.close(id, code::GOING_AWAY, "the server goes away");
        }
    }

    /// Whether a drain is complete: no connection is open or closing, or its time and [`LAST`] are over.
    pub(super) fn is_drained(&self) -> bool {
        self.drain.is_some_and(|drain| {
            self.turn_start >= drain.began + drain.grace + LAST
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
