//! From frames to sockets: the turn's batch, and the queues of those that do not take it.

use std::io::{self, IoSlice, Write};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use super::brain::Brain;
use super::conn::{Conn, ConnId, DEFLATE, HELD, IN_BATCH, Phase, WRITE_LATER};
use super::engine::Engine;
use super::held::HeldFrames;
use super::lives::guard;
use super::outbox::{FrameRef, Job, Outbox};
use super::queue::{Piece, Queue, QueueBounds};
use super::send::{BatchSend, Short};
use crate::metrics::ShardMetrics;

/// Pieces written with one call from a queue.
const PIECES_MAX: usize = 32;

/// Why a connection is to end as soon as nobody is looking at the lists it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doom {
    /// Its socket is broken.
    Broken,
    /// Its queue is full.
    Lagged,
}

/// The connections and what is on its way to them.
pub(super) struct Wire {
    pub(super) conns: Slab<Conn>,
    pub(super) outbox: Outbox,
    pub(super) sender: Box<dyn BatchSend>,
    /// What waits for what else its connection gets.
    pub(super) held: HeldFrames,
    pub(super) short: Vec<Short>,
    pub(super) doomed: Vec<(ConnId, Doom)>,
    pub(super) bounds: QueueBounds,
    /// Bytes in all queues.
    pub(super) queue_bytes: usize,
    pub(super) metrics: Arc<ShardMetrics>,
}

impl Wire {
    /// A connection by its number, unless it is gone.
    pub(super) fn find(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.slot()).filter(|conn| conn.id == id)
    }

    /// Gives a frame of this turn to a connection: into the batch when nothing waits, behind the frame that it has
    /// there already; else into the queue.
    pub(super) fn push(&mut self, slot: usize, frame: FrameRef) {
        self.count(frame, 1);
        self.put(slot, frame);
    }

    /// Counts a frame for so many connections.
    pub(super) fn count(&self, frame: FrameRef, connections: usize) {
        let bytes = self.outbox.bytes(frame).len() * connections;
        self.metrics.frames_out.add(connections as u64);
        self.metrics.bytes_out.add(bytes as u64);
    }

    /// [`Wire::push`] of a frame that is counted already.
    pub(super) fn put(&mut self, slot: usize, frame: FrameRef) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        let frame = match take_held(conn, slot, &mut self.held) {
            None => frame,
            Some(held) => self.outbox.build_from(frame, |bytes, into| {
                into.extend_from_slice(&held);
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
                        self.doomed.push((conn.id, Doom::Broken));
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

    /// Whether a frame may wait: it has to be the first that does.
    pub(super) fn can_hold(&self, slot: usize) -> bool {
        let conn = self.conns.get(slot);
        self.held.has_room() && conn.is_some_and(|conn| !conn.flags.has(HELD))
    }

    /// Lets a frame wait for what else this connection gets in this turn or the next ones.
    pub(super) fn hold(&mut self, slot: usize, turn: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        conn.flags.set(HELD);
        let metrics = &self.metrics;
        self.held.add(slot, turn, |into| {
            write(into);
            metrics.sends_held.add(1);
            metrics.frames_out.add(1);
            metrics.bytes_out.add(into.len() as u64);
        });
    }

    /// What waits for this connection goes now.
    pub(super) fn release(&mut self, slot: usize) {
        let conn = self.conns.get_mut(slot);
        if let Some(held) = conn.and_then(|conn| take_held(conn, slot, &mut self.held)) {
            let frame = self.outbox.build(|into| into.extend_from_slice(&held));
            self.put(slot, frame);
        }
    }

    /// What has waited for long enough goes now.
    pub(super) fn release_due(&mut self, turn: u64) {
        while let Some(slot) = self.held.due(turn) {
            self.release(slot);
        }
    }

    /// Puts a frame behind what waits; `beyond` the bounds for a close frame.
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
                self.doomed.push((conn.id, Doom::Lagged));
            }
            return;
        }
        self.queue_bytes += queue.bytes() - before;
        if !queue.blocked && !conn.flags.has(WRITE_LATER) {
            conn.flags.set(WRITE_LATER);
            self.outbox.later.push(slot as u32);
        }
    }

    /// Sends what the turn has brought together.
    pub(super) fn flush(&mut self) {
        if !self.outbox.jobs.is_empty() {
            self.send_jobs();
        }
        for slot in std::mem::take(&mut self.outbox.later) {
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
        // A connection cannot leave the slab while it is in the batch: see `Engine::remove`.
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
            self.took_less(index, sent);
        }
    }

    /// A socket did not take its whole frame.
    fn took_less(&mut self, index: usize, sent: io::Result<usize>) {
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
                queue.put_back(Piece { data, sent, sealed });
                queue.blocked = true;
                self.queue_bytes += queue.bytes() - before;
            }
            Err(_) => self.doomed.push((conn.id, Doom::Broken)),
        }
    }

    /// Writes a queue until it is empty or the socket takes no more.
    pub(super) fn write_queue(&mut self, slot: usize) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        if conn.flags.has(IN_BATCH) {
            // The batch goes first.
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
            self.doomed.push((conn.id, Doom::Broken));
        }
    }

    /// Takes a connection out of the slab; what it had queued is gone.
    pub(super) fn take_out(&mut self, slot: usize) -> Option<Conn> {
        let mut conn = self.conns.try_remove(slot)?;
        take_held(&mut conn, slot, &mut self.held);
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

/// Takes what waits for a connection; most have nothing, which their flag says.
fn take_held(conn: &mut Conn, slot: usize, held: &mut HeldFrames) -> Option<Vec<u8>> {
    if !conn.flags.has(HELD) {
        return None;
    }
    conn.flags.clear(HELD);
    held.take(slot)
}

fn write_all(conn: &mut Conn, queue: &mut Queue, metrics: &ShardMetrics) -> io::Result<()> {
    queue.blocked = false;
    while !queue.is_empty() {
        if let Some(session) = &mut conn.tls
            && queue.front().is_some_and(|piece| !piece.sealed)
            && let Some(piece) = queue.pop()
        {
            // Sealed only now: a record once sealed must be sent, or the peer's count of records is wrong.
            let mut record = Vec::new();
            guard(metrics, || session.seal(&piece.data, &mut record))
                .map_err(|()| io::ErrorKind::Other)?
                .map_err(io::Error::other)?;
            queue.put_back(Piece {
                data: Rc::from(record),
                sent: 0,
                sealed: true,
            });
        }
        let whole = conn.tls.is_none();
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let mut count = 0;
        for (slice, piece) in
            slices
                .iter_mut()
                .zip(queue.pieces().take(if whole { PIECES_MAX } else { 1 }))
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

impl<B: Brain> Engine<B> {
    /// Sends the turn's frames and ends the connections that did not survive it.
    pub(super) fn flush(&mut self) {
        while !self.wire.outbox.is_empty() || !self.wire.doomed.is_empty() {
            self.wire.flush();
            for (id, doom) in std::mem::take(&mut self.wire.doomed) {
                match doom {
                    Doom::Broken => self.remove(id),
                    Doom::Lagged => self.lagged(id),
                }
            }
        }
        self.finish_closings();
    }

    /// A socket takes bytes again.
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
            self.wire_closing(id);
        }
    }
}
