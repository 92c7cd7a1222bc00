//! TLS 1.3 for viewers, as functions on bytes: the shard owns the sockets and the buffers, so an idle connection keeps
//! its keys and nothing else.

mod config;
mod stream;

pub use config::{TlsError, server_config};
pub use stream::TlsStream;

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

/// Bytes of records that may wait for their end: one record of the largest size, and what a read brings.
const INCOMING_BYTES_MAX: usize = 18 << 10;
/// What a record adds to its plaintext: header, content type and tag.
const RECORD_OVERHEAD: usize = 5 + 1 + 16;
/// Plaintext of a record at the most.
const RECORD_BYTES_MAX: usize = 16 << 10;

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
pub struct Session {
    inner: UnbufferedServerConnection,
    /// A record that is not whole yet; no allocation while there is none.
    incoming: Vec<u8>,
    established: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys are nobody's business.
        f.debug_struct("Session")
            .field("established", &self.established)
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
            established: false,
        })
    }

    /// Takes what the socket gave (`input` is scratch afterwards), appends what it says to `plain` and what is to be
    /// sent in answer to `out`.
    ///
    /// # Errors
    /// When the peer breaks the protocol; `out` then holds the alert.
    pub fn receive(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Progress, rustls::Error> {
        if self.incoming.is_empty() {
            let (used, progress) = self.drive(input, plain, out)?;
            self.incoming.extend_from_slice(&input[used..]);
            return Ok(progress);
        }
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.extend_from_slice(input);
        let (used, progress) = self.drive(&mut incoming, plain, out)?;
        if used < incoming.len() {
            incoming.drain(..used);
            incoming.shrink_to_fit();
            self.incoming = incoming;
        }
        if self.incoming.len() > INCOMING_BYTES_MAX + RECORD_BYTES_MAX {
            return Err(rustls::Error::General(
                "a record that does not end".to_owned(),
            ));
        }
        Ok(progress)
    }

    fn drive(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(usize, Progress), rustls::Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.inner.process_tls_records(&mut input[used..]);
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
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.established = true;
                    Some(Progress::Open)
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    Some(Progress::PeerClosed)
                }
                // Early data is switched off; and the enum may grow.
                Ok(_) => {
                    return Err(rustls::Error::General(
                        "a state that is not expected".to_owned(),
                    ));
                }
                Err(error) => {
                    self.alert(out);
                    return Err(error);
                }
            };
            used += discard;
            if let Some(progress) = progress {
                return Ok((used.min(input.len()), progress));
            }
        }
    }

    /// After an error: the alert that tells the peer.
    fn alert(&mut self, out: &mut Vec<u8>) {
        for _ in 0..4 {
            match self.inner.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    if encode(out, |out| data.encode(out)).is_err() {
                        return;
                    }
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => return,
            }
        }
    }

    /// Appends `plain` as records to `out`.
    ///
    /// # Errors
    /// When the handshake is not done, or the keys are used up.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is rustls' and may grow"
    )]
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), rustls::Error> {
        loop {
            match self.inner.process_tls_records(&mut []).state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let start = out.len();
                    let records = plain.len().div_ceil(RECORD_BYTES_MAX).max(1);
                    out.resize(start + plain.len() + records * RECORD_OVERHEAD, 0);
                    let written = match traffic.encrypt(plain, &mut out[start..]) {
                        Err(EncryptError::InsufficientSize(InsufficientSizeError {
                            required_size,
                        })) => {
                            out.resize(start + required_size, 0);
                            traffic.encrypt(plain, &mut out[start..])
                        }
                        other => other,
                    };
                    let written =
                        written.map_err(|error| rustls::Error::General(error.to_string()));
                    out.truncate(start + written.as_ref().map_or(0, |written| *written));
                    return written.map(|_| ());
                }
                // An answer to a key update.
                ConnectionState::EncodeTlsData(mut data) => encode(out, |out| data.encode(out))?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(rustls::Error::HandshakeNotComplete),
            }
        }
    }

    /// Appends the alert that says that no more comes.
    pub fn close_notify(&mut self, out: &mut Vec<u8>) {
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) =
            self.inner.process_tls_records(&mut []).state
        {
            let start = out.len();
            out.resize(start + 64, 0);
            let written = traffic.queue_close_notify(&mut out[start..]).unwrap_or(0);
            out.truncate(start + written);
        }
    }

    /// The handshake is done.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.established
    }
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
