//! Reading: from a socket's bytes to inputs of the session.

use std::io::{self, Read, Write};

use super::brain::Brain;
use super::conn::{ConnId, DEFLATE, MSGPACK, PEER_ENDED, Phase, READ_AGAIN};
use super::engine::{Engine, INPUTS_MAX};
use super::lives::guard;
use crate::component::{self, Input};
use crate::tls::Progress;
use crate::ws::code;
use crate::ws::deflate::Inflater;
use crate::ws::frame::{self, Opcode};
use crate::ws::reader::{Event, Rules};

impl<B: Brain> Engine<B> {
    /// Reads the sockets that were left with something to read.
    pub(super) fn read_more(&mut self) {
        for id in std::mem::take(&mut self.read_again) {
            if let Some(conn) = self.wire.find(id) {
                conn.flags.clear(READ_AGAIN);
                let ended = conn.flags.has(PEER_ENDED);
                self.readable(id.slot(), ended);
            }
        }
    }

    /// Reads a socket once; `ended` when the peer's side of it has ended, which a read will find behind its bytes.
    pub(super) fn readable(&mut self, slot: usize, ended: bool) {
        let Some(conn) = self.wire.conns.get_mut(slot) else {
            return;
        };
        let id = conn.id;
        if ended {
            conn.flags.set(PEER_ENDED);
        }
        if conn.flags.has(READ_AGAIN) {
            // It is in the list already.
            return;
        }
        if self.inputs.len() >= INPUTS_MAX {
            return self.later(id);
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
                self.received(id, &mut buffer[..count]);
                // A short read has emptied the socket; only an end may still be behind it.
                if count == buffer.len() || ended {
                    self.later(id);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.remove(id),
        }
        self.buffer = buffer;
    }

    fn later(&mut self, id: ConnId) {
        if let Some(conn) = self.wire.find(id)
            && !conn.flags.has(READ_AGAIN)
        {
            conn.flags.set(READ_AGAIN);
            self.read_again.push(id);
        }
    }

    /// Takes a socket's bytes.
    fn received(&mut self, id: ConnId, bytes: &mut [u8]) {
        let Some(conn) = self.wire.find(id) else {
            return;
        };
        if conn.phase == Phase::Closing {
            // Nothing it says matters any more; we only wait for its end.
            return;
        }
        if conn.tls.is_none() {
            return self.plaintext(id, bytes);
        }
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let goes_on = self.decrypt(id, bytes, &mut plain);
        if !plain.is_empty() {
            self.plaintext(id, &mut plain);
        }
        self.plain = plain;
        if !goes_on {
            self.remove(id);
        }
    }

    /// Takes records; false when the peer sends no more. After a failure `plain` is empty, and what is to become of the
    /// connection is done.
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
                // Handshake messages fit into an empty socket; a peer that does not read them is none of ours. Once data
                // flows what is to be sent goes with the next record that is sealed, so this can overtake nothing.
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

    fn plaintext(&mut self, id: ConnId, bytes: &mut [u8]) {
        let Some(conn) = self.wire.find(id) else {
            return;
        };
        match conn.phase {
            Phase::Opening => self.opening(id, bytes),
            Phase::Open => self.frames(id, bytes),
            Phase::Closing => {}
        }
    }

    /// Takes frames of an open connection.
    pub(super) fn frames(&mut self, id: ConnId, bytes: &mut [u8]) {
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
            // Only the newest ping of a read is answered (RFC 6455 section 5.5.3): a flood of pings costs no flood.
            Event::Ping(data) => ping = Some(data.to_vec()),
            Event::Pong => {}
            Event::Close(code) => ended = Some(code.unwrap_or(code::NORMAL)),
        };
        let read = guard(metrics, || reader.read(&rules, inflater, bytes, &mut sink));
        let Ok(read) = read else {
            // All connections share it, and it may be in the middle of a message.
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
