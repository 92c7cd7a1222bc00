//! New connections, up to the first message: accepting, the TLS and WebSocket handshakes, and the handover of other
//! requests to the HTTP server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::Encoding;
use mio::{Interest, Token};

use super::conn::{COUNTED, Conn, ConnId, DEFLATE, Flags, MSGPACK, Phase, SLOTS_MAX};
use super::engine::{Engine, FIRST};
use super::logic::SessionLogic;
use super::restart::guard;
use crate::component::{self, Input, Transport};
use crate::http::Handover;
use crate::tls::Session;
use crate::ws::code;
use crate::ws::handshake::{self, Handshake, Refusal, Upgrade};

/// Time from accepting to the end of the first request's head; after it the connection is dropped.
const OPENING: Duration = Duration::from_secs(3);
/// Bytes of the first request's head that a shard buffers. A connection with a longer head is handed to the HTTP server,
/// which has fewer places; if the request is an upgrade, it comes back from there.
const OPENING_BYTES_MAX: usize = 8 << 10;
/// Connections accepted in one turn; the others are accepted in the next turns.
const ACCEPTS_MAX: usize = 256;

impl<L: SessionLogic> Engine<L> {
    /// Accepts pending connections, up to [`ACCEPTS_MAX`].
    pub(super) fn accept(&mut self) {
        self.accept_again = false;
        if self.paused_until.is_some() {
            return self.drop_pending_accepts();
        }
        for _ in 0..ACCEPTS_MAX {
            match self.listener.accept() {
                Ok((socket, _)) => self.handle_accepted(socket),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    // No descriptors or no memory: tried again with the next tick, when some may have been freed.
                    self.spec.metrics.accept_failed.add(1);
                    tracing::warn!(%error, "accept failed");
                    self.accept_later = true;
                    return;
                }
            }
        }
        self.accept_again = true;
    }

    fn handle_accepted(&mut self, socket: mio::net::TcpStream) {
        self.spec.metrics.accepted.add(1);
        if !self.count_socket() {
            self.spec.metrics.accept_refused.add(1);
            return;
        }
        let tls = self
            .spec
            .tls
            .as_ref()
            .map(|config| guard(&self.spec.metrics, || Session::new(Arc::clone(config))));
        let tls = match tls {
            None => None,
            Some(Ok(Ok(tls))) => Some(Box::new(tls)),
            Some(begun) => {
                if let Ok(Err(error)) = begun {
                    tracing::error!(%error, "TLS cannot begin");
                }
                self.spec.pop.socket_closed();
                return;
            }
        };
        if let Some(id) = self.insert(socket, tls) {
            self.openings.push_back((self.turn_start + OPENING, id));
        }
    }

    /// Handles a connection that the HTTP server gives back because its request is a WebSocket upgrade.
    pub(super) fn handle_returned(&mut self, handover: Handover) {
        if !self.count_socket() {
            self.spec.metrics.accept_refused.add(1);
            return;
        }
        let socket = mio::net::TcpStream::from_std(handover.socket);
        if let Some(id) = self.insert(socket, handover.tls) {
            self.openings.push_back((self.turn_start + OPENING, id));
            let mut read = handover.read;
            self.read_opening(id, &mut read);
        }
    }

    /// Counts a new socket; `false` when the process has too many. At the bound the connection that has been opening for
    /// the longest is removed first, so that incomplete requests displace only incomplete requests.
    fn count_socket(&mut self) -> bool {
        while !self.spec.pop.count_socket() {
            let Some((_, longest)) = self.openings.pop_front() else {
                return false;
            };
            let conn = self.wire.find(longest);
            if conn.is_some_and(|conn| conn.phase == Phase::Opening) {
                self.spec.metrics.opening_evicted.add(1);
                self.remove(longest);
            }
        }
        true
    }

    /// Registers a counted socket and adds it to the connections; `None` when there is no slot or the registration failed.
    fn insert(
        &mut self,
        mut socket: mio::net::TcpStream,
        tls: Option<Box<Session>>,
    ) -> Option<ConnId> {
        let entry = self.wire.conns.vacant_entry();
        let slot = entry.key();
        let interests = Interest::READABLE | Interest::WRITABLE;
        if slot >= SLOTS_MAX
            || self
                .poll
                .registry()
                .register(&mut socket, Token(slot + FIRST), interests)
                .is_err()
        {
            self.spec.metrics.accept_failed.add(1);
            self.spec.pop.socket_closed();
            return None;
        }
        self.slots = self.slots.max(slot + 1);
        self.sequence += 1;
        let id = ConnId::new(self.sequence, self.spec.shard, slot);
        entry.insert(Conn {
            id,
            socket,
            heard_s: 0,
            job: 0,
            phase: Phase::Opening,
            flags: Flags::default(),
            reader: Default::default(),
            queue: None,
            tls,
            memberships: Default::default(),
            opening: None,
        });
        Some(id)
    }

    /// Handles bytes of a connection's first request, already decrypted.
    pub(super) fn read_opening(&mut self, id: ConnId, read: &mut [u8]) {
        let second = self.second();
        let Some(conn) = self.wire.find(id) else {
            return;
        };
        let mut joined = Vec::new();
        let bytes = match conn.opening.take() {
            None => read,
            Some(opening) => {
                joined.extend_from_slice(&opening);
                joined.extend_from_slice(read);
                &mut joined[..]
            }
        };
        let Ok(seen) = guard(&self.spec.metrics, || {
            handshake::look(bytes, &self.spec.origins)
        }) else {
            return self.remove(id);
        };
        match seen {
            Handshake::Incomplete if bytes.len() < OPENING_BYTES_MAX => {
                conn.opening = Some(Box::from(&*bytes));
            }
            Handshake::Incomplete | Handshake::Other => self.hand_over(id, bytes.to_vec()),
            Handshake::Refuse { why, head_only } => {
                self.spec.metrics.count_refused(why);
                if why == Refusal::Malformed && !bytes.first().is_some_and(u8::is_ascii_graphic) {
                    // The bytes are not HTTP, so no HTTP answer is sent.
                    return self.remove(id);
                }
                self.refuse(id, |into| why.write_answer(head_only, into));
            }
            Handshake::Upgrade(_) if self.drain.is_some() => {
                let why = Refusal::GoingAway;
                self.spec.metrics.count_refused(why);
                self.refuse(id, |into| why.write_answer(false, into));
            }
            Handshake::Upgrade(upgrade) => {
                conn.heard_s = second;
                let head_bytes = upgrade.head_bytes;
                self.upgrade(id, upgrade);
                if head_bytes < bytes.len() {
                    self.read_frames(id, &mut bytes[head_bytes..]);
                }
            }
        }
    }

    fn upgrade(&mut self, id: ConnId, upgrade: Upgrade) {
        let counted = self.spec.pop.count_viewer();
        let Some(conn) = self.wire.find(id) else {
            return;
        };
        conn.phase = Phase::Open;
        if counted {
            conn.flags.set(COUNTED);
        }
        if upgrade.deflate {
            conn.flags.set(DEFLATE);
        }
        if upgrade.encoding == Encoding::MsgPack {
            conn.flags.set(MSGPACK);
        }
        let frame = self.wire.outbox.build(|into| upgrade.write_answer(into));
        self.wire.push(id.slot(), frame);
        let metrics = &self.spec.metrics;
        metrics.upgraded.add(1);
        metrics.connections.add(1);
        self.inputs.push(Input::Opened(component::Opened {
            connection: id.0,
            transport: Transport::Websocket,
            encoding: match upgrade.encoding {
                Encoding::Json => component::Encoding::Json,
                Encoding::MsgPack => component::Encoding::Msgpack,
            },
            token: upgrade.token,
        }));
        if !counted {
            self.close(id, code::TOO_MANY, "too many connections");
        }
    }

    /// Passes a connection to the HTTP server, with the bytes already read from it.
    fn hand_over(&mut self, id: ConnId, read: Vec<u8>) {
        let Some(mut conn) = self.wire.remove(id.slot()) else {
            return;
        };
        self.spec.pop.socket_closed();
        if let Err(error) = self.poll.registry().deregister(&mut conn.socket) {
            tracing::debug!(%error, "a socket was not registered");
        }
        let handover = Handover {
            socket: conn.socket.into(),
            tls: conn.tls,
            read,
        };
        let metrics = &self.spec.metrics;
        match self.spec.http.try_send(handover) {
            Ok(()) => metrics.http_handed_over.add(1),
            Err(_) => metrics.http_refused.add(1),
        }
    }
}
