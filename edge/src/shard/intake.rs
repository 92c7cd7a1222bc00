//! Reading: from a socket's bytes to inputs of the session.

use std::io::{self, Read, Write};

use super::brain::Brain;
use super::conn::{ConnId, DEFLATE, MSGPACK, PEER_ENDED, Phase, READ_AGAIN};
use super::engine::{Engine, INPUTS_MAX};
use crate::component::{self, Input};
use crate::tls::Progress;
use crate::ws::code;
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
        if self.decrypt(id, bytes, &mut plain) && !plain.is_empty() {
            self.plaintext(id, &mut plain);
        }
        self.plain = plain;
    }

    /// Takes records; false when the connection has ended by them.
    fn decrypt(&mut self, id: ConnId, bytes: &mut [u8], plain: &mut Vec<u8>) -> bool {
        let Some(conn) = self.wire.find(id) else {
            return false;
        };
        let Some(session) = &mut conn.tls else {
            return false;
        };
        let mut out = Vec::new();
        let received = session.receive(bytes, plain, &mut out);
        let mut written = true;
        if !out.is_empty() {
            // Handshake messages and alerts fit into an empty socket; a peer that does not read them is none of ours.
            // Once data flows only an answer to a key update comes this way, and it must not overtake records that
            // wait.
            let waits = conn.queue.is_some() || conn.flags.has(super::conn::IN_BATCH);
            written = !waits && matches!(conn.socket.write(&out), Ok(count) if count == out.len());
        }
        match received {
            Ok(Progress::PeerClosed) if plain.is_empty() => self.remove(id),
            Ok(_) if written => return true,
            Ok(_) => self.remove(id),
            Err(error) => {
                tracing::debug!(%error, "TLS failed");
                self.spec.metrics.tls_failed.add(1);
                self.remove(id);
            }
        }
        false
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
        let read = conn.reader.read(
            &rules,
            &mut self.inflater,
            bytes,
            &mut |event| match event {
                Event::Message(data) => inputs.push(Input::Frame(component::Frame {
                    connection: id.0,
                    data: data.to_vec(),
                })),
                // Only the newest ping of a read is answered (RFC 6455 section 5.5.3): a flood of pings costs no flood.
                Event::Ping(data) => ping = Some(data.to_vec()),
                Event::Pong => {}
                Event::Close(code) => ended = Some(code.unwrap_or(code::NORMAL)),
            },
        );
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
