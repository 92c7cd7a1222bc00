//! Writes frames to sockets: the turn's batch, and the queue of each socket that did not accept all its bytes.

use std::io::{self, IoSlice, Write};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use super::conn::{Conn, ConnId, DEFERRED, DEFLATE, IN_BATCH, Phase, WRITE_LATER};
use super::deferred::DeferredFrames;
use super::engine::Engine;
use super::logic::SessionLogic;
use super::outbox::{FrameRef, Job, Outbox};
use super::queue::{Piece, Queue, QueueBounds};
use super::restart::guard;
use super::send::{BatchSend, Short};
use crate::metrics::ShardMetrics;

/// Pieces of a queue that are written with one system call.
const PIECES_MAX: usize = 32;

/// Why a connection is removed after the flush; during it lists still refer to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoveReason {
    /// Its socket or TLS session failed.
    Broken,
    /// Its queue is full.
    Lagged,
}

/// The connections and the frames to be sent to them.
pub(super) struct Wire {
    pub(super) conns: Slab<Conn>,
    pub(super) outbox: Outbox,
    pub(super) sender: Box<dyn BatchSend>,
    /// Frames that wait to be sent together with a later one of the same connection.
    pub(super) deferred: DeferredFrames,
    pub(super) short: Vec<Short>,
    pub(super) to_remove: Vec<(ConnId, RemoveReason)>,
    pub(super) bounds: QueueBounds,
    /// Bytes in all queues.
    pub(super) queue_bytes: usize,
    pub(super) metrics: Arc<ShardMetrics>,
}

impl Wire {
    /// The connection with this id, unless it was removed.
    pub(super) fn find(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.slot()).filter(|conn| conn.id == id)
    }

    /// Adds a frame of this turn for a connection: to the batch, joined with the frame that the connection has there
    /// already, or to its queue when it has one or the joined frame would be too long.
    pub(super) fn push(&mut self, slot: usize, frame: FrameRef) {
        self.count(frame, 1);
        self.push_counted(slot, frame);
    }

    /// Counts a frame for this many connections.
    pub(super) fn count(&self, frame: FrameRef, connections: usize) {
        let bytes = self.outbox.bytes(frame).len() * connections;
        self.metrics.frames_out.add(connections as u64);
        self.metrics.bytes_out.add(bytes as u64);
    }

    /// As [`Wire::push`], for a frame that is counted already.
    pub(super) fn push_counted(&mut self, slot: usize, frame: FrameRef) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        let frame = match remove_deferred(conn, slot, &mut self.deferred) {
            None => frame,
            Some(deferred) => self.outbox.build_from(frame, |bytes, into| {
                into.extend_from_slice(&deferred);
                into.extend_from_slice(bytes);
            }),
        };
        let job = conn.flags.has(IN_BATCH).then_some(conn.job as usize);
        let fits = job.is_none_or(|job| self.outbox.can_join(job, frame));
        if conn.queue.is_none() && fits {
            let frame = match &mut conn.tls {
                None => frame,
                Some(session) => {
                    let mut sealed = false;
                    let frame = self.outbox.build_from(frame, |plain, into| {
                        let done = guard(&self.metrics, || session.seal(plain, into));
                        sealed = matches!(done, Ok(Ok(())));
                    });
                    if !sealed {
                        self.to_remove.push((conn.id, RemoveReason::Broken));
                        return;
                    }
                    frame
                }
            };
            if let Some(job) = job {
                self.outbox.join(job, frame);
            } else {
                conn.flags.set(IN_BATCH);
                conn.job = self.outbox.jobs.len() as u32;
                self.outbox.jobs.push(Job {
                    slot: slot as u32,
                    frame,
                });
            }
        } else {
            let data = self.outbox.share(frame);
            self.enqueue(slot, data, false);
        }
        if self.outbox.is_full() {
            self.flush();
        }
    }

    /// Whether a frame of this connection can be deferred: there is room and it has no deferred frame yet.
    pub(super) fn can_defer(&self, slot: usize) -> bool {
        let conn = self.conns.get(slot);
        self.deferred.has_room() && conn.is_some_and(|conn| !conn.flags.has(DEFERRED))
    }

    /// Defers a frame: it is sent before the next frame of this connection, or after a few turns.
    pub(super) fn defer(&mut self, slot: usize, turn: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        conn.flags.set(DEFERRED);
        let metrics = &self.metrics;
        self.deferred.add(slot, turn, |into| {
            write(into);
            metrics.sends_held.add(1);
            metrics.frames_out.add(1);
            metrics.bytes_out.add(into.len() as u64);
        });
    }

    /// Adds the deferred frame of this connection to the batch.
    pub(super) fn send_deferred(&mut self, slot: usize) {
        let conn = self.conns.get_mut(slot);
        if let Some(deferred) =
            conn.and_then(|conn| remove_deferred(conn, slot, &mut self.deferred))
        {
            let frame = self.outbox.build(|into| into.extend_from_slice(&deferred));
            self.push_counted(slot, frame);
        }
    }

    /// Adds the deferred frames that are due in this turn to the batch.
    pub(super) fn send_due(&mut self, turn: u64) {
        while let Some(slot) = self.deferred.due(turn) {
            self.send_deferred(slot);
        }
    }

    /// Appends a frame to the connection's queue; with `beyond` even past the bounds, for a close frame.
    pub(super) fn enqueue(&mut self, slot: usize, data: Rc<[u8]>, beyond: bool) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        let queue = conn.queue.get_or_insert_default();
        let before = queue.bytes();
        if beyond {
            queue.append(data);
        } else if queue.push(data, self.bounds).is_err() {
            if conn.phase == Phase::Open {
                self.to_remove.push((conn.id, RemoveReason::Lagged));
            }
            return;
        }
        self.queue_bytes += queue.bytes() - before;
        if !queue.blocked && !conn.flags.has(WRITE_LATER) {
            conn.flags.set(WRITE_LATER);
            self.outbox.to_write.push(slot as u32);
        }
    }

    /// Sends the batch, then writes the queues that have new frames.
    pub(super) fn flush(&mut self) {
        if !self.outbox.jobs.is_empty() {
            self.send_jobs();
        }
        for slot in std::mem::take(&mut self.outbox.to_write) {
            if let Some(conn) = self.conns.get_mut(slot as usize) {
                conn.flags.clear(WRITE_LATER);
                self.write_queue(slot as usize);
            }
        }
        self.outbox.clear();
    }

    fn send_jobs(&mut self) {
        let Self {
            conns,
            outbox,
            sender,
            short,
            metrics,
            ..
        } = self;
        metrics.send_batch.observe(outbox.jobs.len() as u64);
        short.clear();
        // A connection stays in the slab while it is in the batch: see `Engine::remove`.
        sender.send(
            &mut outbox.jobs.iter().filter_map(|job| {
                let conn = conns.get(job.slot as usize)?;
                Some((conn.socket.as_fd(), outbox.bytes(job.frame)))
            }),
            short,
        );
        for job in &outbox.jobs {
            if let Some(conn) = conns.get_mut(job.slot as usize) {
                conn.flags.clear(IN_BATCH);
            }
        }
        for Short { index, sent } in std::mem::take(&mut self.short) {
            self.queue_short(index, sent);
        }
    }

    /// Queues the remaining bytes of a frame that the socket did not accept completely.
    fn queue_short(&mut self, index: usize, sent: io::Result<usize>) {
        let Some(Job { slot, frame }) = self.outbox.jobs.get(index).copied() else {
            return;
        };
        let data = self.outbox.share(frame);
        let Some(conn) = self.conns.get_mut(slot as usize) else {
            return;
        };
        self.metrics.sends_short.add(1);
        match sent {
            Ok(sent) => {
                let sealed = conn.tls.is_some();
                let queue = conn.queue.get_or_insert_default();
                let before = queue.bytes();
                queue.push_front(Piece { data, sent, sealed });
                queue.blocked = true;
                self.queue_bytes += queue.bytes() - before;
            }
            Err(_) => self.to_remove.push((conn.id, RemoveReason::Broken)),
        }
    }

    /// Writes a queue until it is empty or the socket accepts no more bytes.
    pub(super) fn write_queue(&mut self, slot: usize) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        if conn.flags.has(IN_BATCH) {
            // The batch must be sent first.
            return;
        }
        let Some(mut queue) = conn.queue.take() else {
            return;
        };
        let before = queue.bytes();
        let written = write_all(conn, &mut queue, &self.metrics);
        let after = queue.bytes();
        if !queue.is_empty() {
            conn.queue = Some(queue);
        }
        self.queue_bytes = (self.queue_bytes + after).saturating_sub(before);
        if written.is_err() {
            self.to_remove.push((conn.id, RemoveReason::Broken));
        }
    }

    /// Removes a connection from the slab; its queued and deferred frames are dropped from the counts.
    pub(super) fn remove(&mut self, slot: usize) -> Option<Conn> {
        let mut conn = self.conns.try_remove(slot)?;
        remove_deferred(&mut conn, slot, &mut self.deferred);
        let queued = conn.queue.as_ref().map_or(0, |queue| queue.bytes());
        self.queue_bytes = self.queue_bytes.saturating_sub(queued);
        Some(conn)
    }

    /// Whether frames for this connection may be compressed.
    pub(super) fn deflates(&self, slot: usize) -> bool {
        self.conns
            .get(slot)
            .is_some_and(|conn| conn.flags.has(DEFLATE))
    }
}

/// Removes the deferred frame of a connection. Its flag tells, without a search, that most have none.
fn remove_deferred(conn: &mut Conn, slot: usize, deferred: &mut DeferredFrames) -> Option<Vec<u8>> {
    if !conn.flags.has(DEFERRED) {
        return None;
    }
    conn.flags.clear(DEFERRED);
    deferred.remove(slot)
}

fn write_all(conn: &mut Conn, queue: &mut Queue, metrics: &ShardMetrics) -> io::Result<()> {
    queue.blocked = false;
    while !queue.is_empty() {
        if let Some(session) = &mut conn.tls
            && queue.front().is_some_and(|piece| !piece.sealed)
            && let Some(piece) = queue.pop()
        {
            // Sealed only now: once sealed, a record must be sent, or the peer's record sequence does not match.
            let mut record = Vec::new();
            guard(metrics, || session.seal(&piece.data, &mut record))
                .map_err(|()| io::ErrorKind::Other)?
                .map_err(io::Error::other)?;
            queue.push_front(Piece {
                data: Rc::from(record),
                sent: 0,
                sealed: true,
            });
        }
        let several = conn.tls.is_none();
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let mut count = 0;
        for (slice, piece) in
            slices
                .iter_mut()
                .zip(queue.pieces().take(if several { PIECES_MAX } else { 1 }))
        {
            *slice = IoSlice::new(&piece.data[piece.sent..]);
            count += 1;
        }
        match conn.socket.write_vectored(&slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => queue.advance(taken),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                queue.blocked = true;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl<L: SessionLogic> Engine<L> {
    /// Sends the turn's frames and removes the connections that failed meanwhile.
    pub(super) fn flush(&mut self) {
        while !self.wire.outbox.is_empty() || !self.wire.to_remove.is_empty() {
            self.wire.flush();
            for (id, reason) in std::mem::take(&mut self.wire.to_remove) {
                match reason {
                    RemoveReason::Broken => self.remove(id),
                    RemoveReason::Lagged => self.close_lagging(id),
                }
            }
        }
        self.finish_closings();
    }

    /// Writes the queue of a socket that accepts bytes again.
    pub(super) fn writable(&mut self, slot: usize) {
        let Some(conn) = self.wire.conns.get_mut(slot) else {
            return;
        };
        if conn.queue.is_none() {
            return;
        }
        let (id, closing) = (conn.id, conn.phase == Phase::Closing);
        self.wire.write_queue(slot);
        if closing {
            self.shut_down_write(id);
        }
    }
}
