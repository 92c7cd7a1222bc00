//! Reads sockets: from received bytes to inputs of the session.

use std::io::{self, Read, Write};

use super::conn::{ConnId, DEFLATE, MSGPACK, PEER_ENDED, Phase, READ_AGAIN};
use super::engine::{Engine, INPUTS_MAX};
use super::logic::SessionLogic;
use super::restart::guard;
use crate::component::{self, Input};
use crate::tls::Progress;
use crate::ws::code;
use crate::ws::deflate::Inflater;
use crate::ws::frame::{self, Opcode};
use crate::ws::reader::{Event, Rules};

impl<L: SessionLogic> Engine<L> {
    /// Reads the sockets that the last turn did not read to their end.
    pub(super) fn read_remaining(&mut self) {
        for id in std::mem::take(&mut self.read_again) {
            if let Some(conn) = self.wire.find(id) {
                conn.flags.clear(READ_AGAIN);
                let ended = conn.flags.has(PEER_ENDED);
                self.readable(id.slot(), ended);
            }
        }
    }

    /// Reads a socket once. `ended`: the peer has shut down its side, so a read of 0 bytes follows the remaining ones.
    pub(super) fn readable(&mut self, slot: usize, ended: bool) {
        let Some(conn) = self.wire.conns.get_mut(slot) else {
            return;
        };
        let id = conn.id;
        if ended {
            conn.flags.set(PEER_ENDED);
        }
        if conn.flags.has(READ_AGAIN) {
            // It will be read in the next turn anyway.
            return;
        }
        if self.inputs.len() >= INPUTS_MAX {
            return self.read_later(id);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = loop {
            match conn.socket.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) => self.remove(id),
            Ok(count) => {
                self.handle_bytes(id, &mut buffer[..count]);
                // A read shorter than the buffer has emptied the socket; only the end of the stream may follow.
                if count == buffer.len() || ended {
                    self.read_later(id);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.remove(id),
        }
        self.buffer = buffer;
    }

    fn read_later(&mut self, id: ConnId) {
        if let Some(conn) = self.wire.find(id)
            && !conn.flags.has(READ_AGAIN)
        {
            conn.flags.set(READ_AGAIN);
            self.read_again.push(id);
        }
    }

    /// Handles the bytes of one read.
    fn handle_bytes(&mut self, id: ConnId, bytes: &mut [u8]) {
        let Some(conn) = self.wire.find(id) else {
            return;
        };
        if conn.phase == Phase::Closing {
            // Ignored: only the end of the connection is awaited.
            return;
        }
        if conn.tls.is_none() {
            return self.handle_plaintext(id, bytes);
        }
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let goes_on = self.decrypt(id, bytes, &mut plain);
        if !plain.is_empty() {
            self.handle_plaintext(id, &mut plain);
        }
        self.plain = plain;
        if !goes_on {
            self.remove(id);
        }
    }

    /// Decrypts TLS records into `plain`; `false` when the connection is to be removed. After a TLS error `plain` is empty
    /// and the connection is closed already.
    fn decrypt(&mut self, id: ConnId, bytes: &mut [u8], plain: &mut Vec<u8>) -> bool {
        let Some(conn) = self.wire.find(id) else {
            return false;
        };
        let Some(session) = &mut conn.tls else {
            return false;
        };
        let mut out = Vec::new();
        let metrics = &self.spec.metrics;
        let received = guard(metrics, || session.receive(bytes, plain, &mut out));
        match received {
            Ok(Ok(progress)) => {
                // Handshake messages fit into an empty socket buffer; a peer that does not read them is removed. After the
                // handshake TLS messages go out with the next sealed record, so these bytes overtake nothing.
                let waits = conn.queue.is_some() || conn.flags.has(super::conn::IN_BATCH);
                let written = out.is_empty()
                    || !waits && matches!(conn.socket.write(&out), Ok(count) if count == out.len());
                written && progress != Progress::PeerClosed
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS failed");
                metrics.tls_failed.add(1);
                plain.clear();
                self.fail_tls(id, &out);
                true
            }
            Err(()) => {
                plain.clear();
                false
            }
        }
    }

    fn handle_plaintext(&mut self, id: ConnId, bytes: &mut [u8]) {
        let Some(conn) = self.wire.find(id) else {
            return;
        };
        match conn.phase {
            Phase::Opening => self.read_opening(id, bytes),
            Phase::Open => self.read_frames(id, bytes),
            Phase::Closing => {}
        }
    }

    /// Reads WebSocket frames of an open connection.
    pub(super) fn read_frames(&mut self, id: ConnId, bytes: &mut [u8]) {
        let second = self.second();
        let message_bytes_max = self.spec.message_bytes_max;
        let Some(conn) = self.wire.conns.get_mut(id.slot()) else {
            return;
        };
        if conn.id != id || conn.phase != Phase::Open {
            return;
        }
        conn.heard_s = second;
        let rules = Rules {
            message_bytes_max,
            deflate: conn.flags.has(DEFLATE),
            binary: conn.flags.has(MSGPACK),
        };
        let inputs = &mut self.inputs;
        let before = inputs.len();
        let mut ping: Option<Vec<u8>> = None;
        let mut ended = None;
        let metrics = &self.spec.metrics;
        metrics.bytes_in.add(bytes.len() as u64);
        let reader = &mut conn.reader;
        let inflater = &mut self.inflater;
        let mut sink = |event: Event<'_>| match event {
            Event::Message(data) => inputs.push(Input::Frame(component::Frame {
                connection: id.0,
                data: data.to_vec(),
            })),
            // Only the newest ping of a read is answered (RFC 6455 section 5.5.3), so many pings cost one pong.
            Event::Ping(data) => ping = Some(data.to_vec()),
            Event::Pong => {}
            Event::Close(code) => ended = Some(code.unwrap_or(code::NORMAL)),
        };
        let read = guard(metrics, || reader.read(&rules, inflater, bytes, &mut sink));
        let Ok(read) = read else {
            // All connections share the inflater, and the panic may have left it in the middle of a message.
            self.inflater = Inflater::default();
            return self.close(id, code::INTERNAL, "internal error");
        };
        metrics.messages_in.add((inputs.len() - before) as u64);
        if let Some(data) = ping {
            let frame = self
                .wire
                .outbox
                .build(|into| frame::write_control(Opcode::Pong, &data, into));
            self.wire.push(id.slot(), frame);
        }
        match (read, ended) {
            (Err(violation), _) => self.close(id, violation.code, violation.reason),
            (Ok(()), Some(code)) => self.close(id, code, ""),
            (Ok(()), None) => {}
        }
    }
}
