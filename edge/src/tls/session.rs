//! One connection's TLS, as functions on bytes: the shard owns the sockets and the buffers, so an idle connection keeps
//! its keys and nothing else.

use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};

/// Bytes of records and of a handshake message that may wait for their end; a peer that sends more without ending one is
/// dropped (metric `tls_failed`).
const INCOMING_BYTES_MAX: usize = 34 << 10;
/// What a record adds to its plaintext: header, content type and tag.
const RECORD_OVERHEAD: usize = 5 + 1 + 16;
/// Plaintext of a record at the most.
const RECORD_BYTES_MAX: usize = 16 << 10;
/// Room for a `close_notify`; it is asked for again when a key update waits before it.
const ALERT_BYTES: usize = 64;

/// How a connection stands after what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The handshake goes on.
    Handshaking,
    /// Data goes both ways.
    Open,
    /// The peer will send no more.
    PeerClosed,
}

/// A viewer's TLS connection.
///
/// rustls keeps offsets into the bytes it has not told us to discard. So every call that may look at them gets all of
/// them, from the first that is not discarded on: `receive` and `with_open` are the only ones. rustls' own buffered
/// connection does the same, and keeps 4 KiB for it with every idle connection.
///
/// **Invariant**: `incoming` is what was received less what was discarded; once the peer has closed or something has
/// failed it is empty, and rustls is not asked to read any more. Check: `fuzz/fuzz_targets/tls.rs`.
pub struct Session {
    inner: UnbufferedServerConnection,
    /// Received and not discarded: a part of a record, or records with a part of a handshake message. No allocation
    /// while there is none.
    incoming: Vec<u8>,
    stage: Stage,
    /// Our `close_notify` is said; nothing is sealed or read after it.
    ended: bool,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshaking,
    Open,
    PeerClosed,
    Failed,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys are nobody's business.
        f.debug_struct("Session")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Begins the server's side.
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

    /// Takes what the socket gave (`input` is scratch afterwards), appends what it says to `plain` and what is to be
    /// sent in answer to `out`. After the peer's `close_notify`, or ours, bytes are thrown away (RFC 8446 section 6.1).
    ///
    /// # Errors
    /// When the peer breaks the protocol; `out` then holds the alert, and the session is of no use any more.
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
            // What follows a `close_notify` is thrown away, however much it is.
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

    /// Lets rustls read `undiscarded` as far as it goes; says how many bytes of it are to be discarded.
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
                    // It is in `out`, which the caller sends in order.
                    data.done();
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Progress::Handshaking),
                Ok(ConnectionState::WriteTraffic(_)) => Some(Progress::Open),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    Some(Progress::PeerClosed)
                }
                // Early data is switched off; and the enum may grow.
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

    /// After an error: the alert that tells the peer, and what was to be sent before it.
    fn alert(&mut self, out: &mut Vec<u8>) {
        // As long as something waits to be sent, rustls hands that out and looks at no bytes of the peer. It must not
        // look at them again: it would come to the same fault a second time.
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

    /// Appends `plain` as records to `out`.
    ///
    /// # Errors
    /// When the handshake is not done, the session has ended, or the keys are used up.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), rustls::Error> {
        let records = plain.len().div_ceil(RECORD_BYTES_MAX).max(1);
        let room = plain.len() + records * RECORD_OVERHEAD;
        self.with_open(room, out, |traffic, out| traffic.encrypt(plain, out))
    }

    /// Appends the alert that says that no more comes, once; nothing when the handshake is not done.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        // An error says that there is nobody to tell.
        let _ = self.with_open(ALERT_BYTES, out, |traffic, out| {
            traffic.queue_close_notify(out)
        });
        self.ended = true;
        self.incoming = Vec::new();
    }

    /// Appends what `write` makes of an open connection; `room` is how many bytes that needs as a rule.
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
                // A key update of ours.
                ConnectionState::EncodeTlsData(mut data) => encode(out, |out| data.encode(out))?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                // All that was received has been read: nothing else can come of it now.
                _ => return Err(rustls::Error::HandshakeNotComplete),
            }
            discard_front(&mut self.incoming, discard);
        }
    }

    /// The handshake is done.
    #[must_use]
    pub fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::PeerClosed)
    }

    /// The peer has said that it will send no more.
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

/// Grows `out` until `write` has room.
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
            // The enum may grow.
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
