//! The TLS session of one connection, as functions on bytes. The shard owns sockets and buffers, so that an idle session
//! holds its keys and no buffer.

use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};

/// Bytes of an incomplete record and handshake message; a peer that sends more is disconnected (metric `tls_failed`).
const INCOMING_BYTES_MAX: usize = 34 << 10;
/// Bytes that a record adds to its plaintext: header, content type and tag.
const RECORD_OVERHEAD: usize = 5 + 1 + 16;
/// Bytes of plaintext in one record, at most.
const RECORD_BYTES_MAX: usize = 16 << 10;
/// Bytes reserved for a `close_notify`; more are reserved when a pending key update precedes it.
const ALERT_BYTES: usize = 64;

/// The state of a session after received bytes were handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The handshake is not complete.
    Handshaking,
    /// Both sides can send data.
    Open,
    /// The peer sends no more data.
    PeerClosed,
}

/// A viewer's TLS session.
///
/// rustls keeps offsets into the bytes that it has not told us to discard. So every call in which it may read gets all of
/// these bytes, from the first undiscarded one on; only `receive` and `with_open` make such calls. The buffered connection
/// of rustls does the same, but keeps 4 KiB for it in every idle connection.
///
/// **Invariant**: `incoming` has the bytes received and not discarded. After the peer closed or an error it is empty, and
/// rustls reads no more bytes. Check: `fuzz/fuzz_targets/tls.rs`.
pub struct Session {
    inner: UnbufferedServerConnection,
    /// Bytes received and not discarded: a part of a record, or records with a part of a handshake message. Not allocated
    /// while empty.
    incoming: Vec<u8>,
    stage: Stage,
    /// Our `close_notify` was written; nothing is sealed or read after it.
    ended: bool,
}

/// The stage of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshaking,
    Open,
    PeerClosed,
    Failed,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys must not be printed.
        f.debug_struct("Session")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Starts the server's side of a session.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: Arc<rustls::ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            inner: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            stage: Stage::Handshaking,
            ended: false,
        })
    }

    /// Handles received bytes: appends the decrypted data to `plain` and bytes to be sent to `out`. `input` is overwritten.
    /// Bytes after the peer's `close_notify`, or ours, are ignored (RFC 8446 section 6.1).
    ///
    /// # Errors
    /// When the peer breaks the protocol; then `out` has the alert to send, and the session has failed.
    pub fn receive(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Progress, rustls::Error> {
        if self.stage == Stage::Failed {
            return Err(failed());
        }
        if self.stage == Stage::PeerClosed || self.ended {
            return Ok(Progress::PeerClosed);
        }
        let received = if self.incoming.is_empty() {
            self.drive(input, plain, out).map(|(used, progress)| {
                self.incoming = input[used..].to_vec();
                progress
            })
        } else {
            let mut incoming = std::mem::take(&mut self.incoming);
            incoming.extend_from_slice(input);
            self.drive(&mut incoming, plain, out)
                .map(|(used, progress)| {
                    if used < incoming.len() {
                        incoming.drain(..used);
                        incoming.shrink_to_fit();
                        self.incoming = incoming;
                    }
                    progress
                })
        };
        let received = match received {
            // The bound does not hold after a `close_notify`, because those bytes are ignored.
            Ok(progress)
                if progress != Progress::PeerClosed && self.incoming.len() > INCOMING_BYTES_MAX =>
            {
                Err(rustls::Error::General(
                    "a record that does not end".to_owned(),
                ))
            }
            received => received,
        };
        match &received {
            Ok(Progress::Handshaking) => {}
            Ok(Progress::Open) => self.stage = Stage::Open,
            Ok(Progress::PeerClosed) => self.stage = Stage::PeerClosed,
            Err(_) => self.stage = Stage::Failed,
        }
        if self.stage == Stage::PeerClosed || self.stage == Stage::Failed {
            self.incoming = Vec::new();
        }
        received
    }

    /// Lets rustls read `undiscarded` as far as possible; returns how many bytes of it are to be discarded.
    fn drive(
        &mut self,
        undiscarded: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Progress), rustls::Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.inner.process_tls_records(&mut undiscarded[used..]);
            let progress = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                    None
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(out, |out| data.encode(out))?;
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // The data is in `out`, which the caller sends in order.
                    data.done();
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Progress::Handshaking),
                Ok(ConnectionState::WriteTraffic(_)) => Some(Progress::Open),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    Some(Progress::PeerClosed)
                }
                // Early data is switched off, and the enum is non-exhaustive.
                Ok(_) => return Err(unexpected()),
                Err(error) => {
                    self.alert(out);
                    return Err(error);
                }
            };
            used = (used + discard).min(undiscarded.len());
            if let Some(progress) = progress {
                return Ok((used, progress));
            }
        }
    }

    /// After an error, appends the pending bytes and the alert to `out`.
    fn alert(&mut self, out: &mut Vec<u8>) {
        // While it has bytes to send, rustls returns them and reads no bytes of the peer. It must not read the peer's bytes
        // again, because it would find the same error a second time.
        while self.inner.wants_write() {
            match self.inner.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    if encode(out, |out| data.encode(out)).is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    }

    /// Encrypts `plain` and appends the records to `out`.
    ///
    /// # Errors
    /// When the handshake is incomplete, the session has ended, or the keys are exhausted.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), rustls::Error> {
        let records = plain.len().div_ceil(RECORD_BYTES_MAX).max(1);
        let room = plain.len() + records * RECORD_OVERHEAD;
        self.with_open(room, out, |traffic, out| traffic.encrypt(plain, out))
    }

    /// Appends a `close_notify` to `out`, once; nothing when the handshake is incomplete.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        // An error means that no `close_notify` can be sent in this state.
        let _ = self.with_open(ALERT_BYTES, out, |traffic, out| {
            traffic.queue_close_notify(out)
        });
        self.ended = true;
        self.incoming = Vec::new();
    }

    /// Appends to `out` what `write` produces when the session is open; `room` is the usual number of bytes.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is rustls' and may grow"
    )]
    fn with_open(
        &mut self,
        room: usize,
        out: &mut Vec<u8>,
        write: impl Fn(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> Result<(), rustls::Error> {
        if self.ended || self.stage == Stage::Failed {
            return Err(failed());
        }
        loop {
            let UnbufferedStatus { discard, state } =
                self.inner.process_tls_records(&mut self.incoming);
            match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let start = out.len();
                    out.resize(start + room, 0);
                    let written = match write(&mut traffic, &mut out[start..]) {
                        Err(EncryptError::InsufficientSize(InsufficientSizeError {
                            required_size,
                        })) => {
                            out.resize(start + required_size, 0);
                            write(&mut traffic, &mut out[start..])
                        }
                        other => other,
                    };
                    let written =
                        written.map_err(|error| rustls::Error::General(error.to_string()));
                    out.truncate(start + written.as_ref().map_or(0, |written| *written));
                    discard_front(&mut self.incoming, discard);
                    return written.map(|_| ());
                }
                // A pending key update.
                ConnectionState::EncodeTlsData(mut data) => encode(out, |out| data.encode(out))?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                // All received bytes have been read, so any other state means that the handshake is incomplete.
                _ => return Err(rustls::Error::HandshakeNotComplete),
            }
            discard_front(&mut self.incoming, discard);
        }
    }

    /// Whether the handshake is complete.
    #[must_use]
    pub fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::PeerClosed)
    }

    /// Whether the peer sent a `close_notify`.
    #[must_use]
    pub fn peer_has_closed(&self) -> bool {
        self.stage == Stage::PeerClosed
    }
}

fn discard_front(bytes: &mut Vec<u8>, count: usize) {
    bytes.drain(..count.min(bytes.len()));
}

fn failed() -> rustls::Error {
    rustls::Error::General("the session has ended".to_owned())
}

fn unexpected() -> rustls::Error {
    rustls::Error::General("a state that is not expected".to_owned())
}

/// Appends what `write` produces to `out`, which grows until the bytes fit.
fn encode(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), rustls::Error> {
    let start = out.len();
    let mut size = 512;
    loop {
        out.resize(start + size, 0);
        match write(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size }))
                if required_size > size =>
            {
                size = required_size;
            }
            // The enum is non-exhaustive.
            Err(error) => {
                out.truncate(start);
                return if matches!(error, EncodeError::AlreadyEncoded) {
                    Ok(())
                } else {
                    Err(rustls::Error::General(error.to_string()))
                };
            }
        }
    }
}

#[cfg(test)]
mod tests;
