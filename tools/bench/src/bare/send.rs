//! How the bare loop gets a frame to many sockets.

use std::os::fd::BorrowedFd;

use anyhow::{Result, anyhow};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use super::uring::Uring;
use crate::ws;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// A `write` a socket: its cost is `W`.
    Write,
    /// One `io_uring` submit per 2,048 sockets: its cost is `U`.
    Uring,
    /// A `write` a socket of bytes sealed for it, as TLS 1.3 would.
    Seal,
}

pub(super) struct Sender {
    pub(super) mode: Mode,
    uring: Option<Uring>,
    seal: Seal,
}

impl Sender {
    /// With `io_uring` where the kernel allows it.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            mode: Mode::Write,
            uring: Uring::new().ok(),
            seal: Seal::new()?,
        })
    }

    /// Sends a frame to some sockets and says how many took it whole.
    pub(super) fn send(&mut self, sockets: &[i32], frame: &[u8]) -> u64 {
        match (self.mode, &mut self.uring) {
            (Mode::Uring, Some(uring)) => uring.send(sockets, frame),
            (Mode::Uring, None) => 0,
            (Mode::Write, _) => sockets
                .iter()
                .filter(|socket| write(**socket, frame))
                .count() as u64,
            (Mode::Seal, _) => sockets
                .iter()
                .filter(|socket| write(**socket, self.seal.seal(frame)))
                .count() as u64,
        }
    }
}

#[allow(
    unsafe_code,
    reason = "the server owns every socket whose number is in its member list"
)]
fn write(socket: i32, frame: &[u8]) -> bool {
    // SAFETY: a connection leaves the member list before its socket is closed.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    rustix::io::write(socket, frame).is_ok_and(|written| written == frame.len())
}

/// One AEAD seal, of what TLS 1.3 would seal, to a record of the size TLS would send.
struct Seal {
    key: LessSafeKey,
    counter: u64,
    record: Vec<u8>,
}

/// A record's header, the content type that is sealed along, and the tag.
const RECORD_HEADER: usize = 5;
const TAG: usize = 16;

impl Seal {
    fn new() -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| anyhow!("no AES-256-GCM"))?;
        Ok(Self {
            key: LessSafeKey::new(key),
            counter: 0,
            record: Vec::new(),
        })
    }

    /// The client of the bare loop speaks no TLS: the record is wrapped in a frame head where TLS has its header,
    /// so that as many bytes go out and the client can count frames.
    fn seal(&mut self, frame: &[u8]) -> &[u8] {
        let sealed_len = frame.len() + 1 + TAG;
        let whole = RECORD_HEADER + sealed_len;
        let head = if whole < 128 { 2 } else { 4 };
        self.record.clear();
        self.record.push(0x80 | ws::BINARY);
        if head == 2 {
            self.record.push((whole - head) as u8);
        } else {
            self.record.push(126);
            self.record
                .extend_from_slice(&((whole - head) as u16).to_be_bytes());
        }
        self.record.resize(RECORD_HEADER, 0);
        self.record.extend_from_slice(frame);
        self.record.push(0x17);
        self.counter += 1;
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        let (header, body) = self.record.split_at_mut(RECORD_HEADER);
        let nonce = Nonce::assume_unique_for_key(nonce);
        if let Ok(tag) = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(&*header), body)
        {
            self.record.extend_from_slice(tag.as_ref());
        }
        &self.record
    }
}
