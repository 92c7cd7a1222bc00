//! One connection: plain or TLS, its upgrade, and the frames it receives.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result};
use memchr::memmem;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustls::ClientConnection;

use super::dialect::{Dialect, Ready};
use super::posts::Posts;
use super::{Group, GroupId};
use crate::sys::now_ns;
use crate::ws::{self, Head};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The upgrade is under way.
    Upgrading,
    /// It is upgraded and not ready.
    Joining,
    /// It is ready.
    Open,
}

pub(crate) struct Conn {
    pub(crate) socket: TcpStream,
    pub(crate) group: GroupId,
    pub(crate) state: State,
    /// Nobody reads it.
    pub(crate) paused: bool,
    number: usize,
    raw: bool,
    tls: Option<Box<ClientConnection>>,
    carry: Vec<u8>,
    out: Vec<u8>,
}

impl Conn {
    /// A connection that is established and has said nothing.
    pub(crate) fn new(
        socket: TcpStream,
        group: GroupId,
        number: usize,
        dialect: &Dialect,
    ) -> Result<Self> {
        let raw = matches!(dialect.ready, Ready::Raw);
        let tls = dialect
            .tls
            .as_ref()
            .map(|tls| tls.connection().map(Box::new));
        Ok(Self {
            socket,
            group,
            state: if raw { State::Open } else { State::Upgrading },
            paused: false,
            number,
            raw,
            tls: tls.transpose()?,
            carry: Vec::new(),
            out: Vec::new(),
        })
    }

    /// Sends, or keeps what the socket does not take.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes).context("TLS")?;
            return self.flush();
        }
        if self.out.is_empty() {
            match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => self.out.extend_from_slice(&bytes[sent..]),
                Err(Errno::AGAIN) => self.out.extend_from_slice(bytes),
                Err(error) => return Err(error.into()),
            }
        } else {
            self.out.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Whether something waits for the socket.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.out.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Tries again what waits.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut &self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        while !self.out.is_empty() {
            match rustix::net::send(&self.socket, &self.out, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes what came. `None`: it has ended.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        plain: &mut [u8],
        group: &mut Group,
        posts: &mut Posts,
    ) -> Option<()> {
        let len = match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => return None,
            Ok((len, _)) => len,
            Err(Errno::AGAIN | Errno::INTR) => return Some(()),
            Err(_) => return None,
        };
        let now = now_ns();
        let Some(mut tls) = self.tls.take() else {
            return self.feed(&buffer[..len], now, group, posts);
        };
        let mut wire = &buffer[..len];
        let mut alive = Some(());
        while alive.is_some() && !wire.is_empty() {
            if tls.read_tls(&mut wire).is_err() || tls.process_new_packets().is_err() {
                return None;
            }
            loop {
                match tls.reader().read(plain) {
                    Ok(0) => return None,
                    Ok(len) => {
                        // What the answer to it must say goes through `write`, which needs the TLS back.
                        self.tls = Some(tls);
                        alive = self.feed(&plain[..len], now, group, posts);
                        tls = self.tls.take()?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return None,
                }
            }
        }
        self.tls = Some(tls);
        self.flush().ok()?;
        alive
    }

    fn feed(&mut self, bytes: &[u8], now: u64, group: &mut Group, posts: &mut Posts) -> Option<()> {
        if self.raw {
            group.counts.bytes += bytes.len() as u64;
            return Some(());
        }
        if self.state != State::Upgrading && self.carry.is_empty() {
            let used = self.frames(bytes, now, group, posts)?;
            if used < bytes.len() {
                self.carry.extend_from_slice(&bytes[used..]);
            }
            return Some(());
        }
        let mut all = std::mem::take(&mut self.carry);
        all.extend_from_slice(bytes);
        let mut start = 0;
        if self.state == State::Upgrading {
            let Some(end) = memmem::find(&all, b"\r\n\r\n") else {
                self.carry = all;
                return Some(());
            };
            if !all.starts_with(b"HTTP/1.1 101") {
                group.counts.refusal = words(&all[..end]);
                return None;
            }
            start = end + 4;
            let hello = Dialect::of(&group.dialect.hellos, self.number);
            self.state = match group.dialect.ready {
                Ready::Says(_) | Ready::Answers => State::Joining,
                Ready::Raw | Ready::Upgraded => State::Open,
            };
            self.write(hello).ok()?;
        }
        let used = self.frames(&all[start..], now, group, posts)?;
        all.drain(..start + used);
        if all.is_empty() {
            all = Vec::new();
        }
        self.carry = all;
        Some(())
    }

    /// Takes whole frames and says how many bytes they were. `None`: a close.
    fn frames(
        &mut self,
        bytes: &[u8],
        now: u64,
        group: &mut Group,
        posts: &mut Posts,
    ) -> Option<usize> {
        let mut used = 0;
        while let Some(head) = Head::read(&bytes[used..]) {
            let Some(payload) = bytes.get(used + head.head_len..used.saturating_add(head.len()))
            else {
                break;
            };
            used += head.len();
            match head.opcode {
                ws::PING => self.write(&ws::client_frame(ws::PONG, payload)).ok()?,
                ws::CLOSE => {
                    let (code, why) = payload.split_first_chunk().unwrap_or((&[0; 2], b""));
                    let code = u16::from_be_bytes(*code);
                    group.counts.refusal = format!("closed with {code}: {}", words(why));
                    return None;
                }
                ws::PONG => {}
                _ => self.message(payload, head.len(), now, group, posts),
            }
        }
        Some(used)
    }

    fn message(
        &mut self,
        payload: &[u8],
        len: usize,
        now: u64,
        group: &mut Group,
        posts: &mut Posts,
    ) {
        if self.state == State::Joining {
            let ready = match group.dialect.ready {
                Ready::Says(words) => memmem::find(payload, words).is_some(),
                Ready::Raw | Ready::Upgraded | Ready::Answers => true,
            };
            if ready {
                self.state = State::Open;
            } else {
                group.counts.refusal = words(payload);
            }
            return;
        }
        let counts = &mut group.counts;
        counts.frames += 1;
        counts.bytes += len as u64;
        let marks = posts.scan(payload, now);
        counts.comments += marks;
        if marks > 0 {
            counts.comment_frames += 1;
            counts.comment_bytes += len as u64;
        }
        if let Some(kind) = group.dialect.notice {
            counts.noticed += memmem::find_iter(payload, kind).count() as u64;
        }
        if marks == 0 && group.dialect.receipts {
            if memmem::find(payload, b"durable").is_some() {
                counts.durable += 1;
            } else if memmem::find(payload, b"rejected").is_some()
                || memmem::find(payload, b"error").is_some()
            {
                counts.refused += 1;
                counts.refusal = words(payload);
            }
        }
    }
}

/// The beginning of an answer that is not what was hoped for.
fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}
