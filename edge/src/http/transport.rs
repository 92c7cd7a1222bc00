//! The handover of a connection between a shard and the HTTP server.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::tls::{Session, TlsStream};

/// A connection with the bytes that were read from it and not yet handled. A shard hands it to the HTTP server when its
/// request is no upgrade; the server gives it back when a later request is one.
#[derive(Debug)]
pub struct Handover {
    /// The socket, non-blocking.
    pub socket: std::net::TcpStream,
    /// The TLS session; `None`: not encrypted.
    pub tls: Option<Box<Session>>,
    /// The bytes read and not yet handled, decrypted.
    pub read: Vec<u8>,
}

/// A connection's byte stream in the HTTP server.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes a handover for a shard, with `read` before bytes that the stream holds. All written bytes must be flushed.
    fn into_handover(self, read: Vec<u8>) -> io::Result<Handover>;
}

impl Transport for TcpStream {
    fn into_handover(self, read: Vec<u8>) -> io::Result<Handover> {
        Ok(Handover {
            socket: self.into_std()?,
            tls: None,
            read,
        })
    }
}

impl Transport for TlsStream<TcpStream> {
    fn into_handover(self, mut read: Vec<u8>) -> io::Result<Handover> {
        let (socket, session, plain) = self.into_parts();
        read.extend_from_slice(&plain);
        Ok(Handover {
            socket: socket.into_std()?,
            tls: Some(session),
            read,
        })
    }
}
