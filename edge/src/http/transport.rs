//! A connection on its way between a shard and the HTTP server.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::tls::{Session, TlsStream};

/// A connection with what was read of it and not yet dealt with. It goes to the HTTP server with a request that is no
/// upgrade, and back to a shard with one that is.
#[derive(Debug)]
pub struct Handover {
    /// The socket, non-blocking.
    pub socket: std::net::TcpStream,
    /// Its TLS session.
    pub tls: Option<Box<Session>>,
    /// What was read of it, unencrypted.
    pub read: Vec<u8>,
}

/// The bytes of a connection in the HTTP server.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The connection as it can be given to a shard, `read` first; what was written is flushed.
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
