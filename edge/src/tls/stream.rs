//! A TLS session with its socket as an asynchronous stream, for the HTTP server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Progress, Session};

/// Bytes of plaintext that one write encrypts.
const WRITE_BYTES_MAX: usize = 16 << 10;

/// A socket with its TLS session.
#[derive(Debug)]
pub struct TlsStream<S> {
    socket: S,
    session: Box<Session>,
    plain: Vec<u8>,
    plain_read: usize,
    out: Vec<u8>,
    out_sent: usize,
    ended: bool,
    closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Makes a stream of an established session and its socket.
    pub fn new(socket: S, session: Box<Session>) -> Self {
        let ended = session.peer_has_closed();
        Self {
            socket,
            session,
            plain: Vec::new(),
            plain_read: 0,
            out: Vec::new(),
            out_sent: 0,
            ended,
            closing: false,
        }
    }

    /// The socket, its session, and the decrypted bytes not yet read. All written bytes must be flushed.
    pub fn into_parts(mut self) -> (S, Box<Session>, Vec<u8>) {
        let plain = self.plain.split_off(self.plain_read);
        (self.socket, self.session, plain)
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out_sent < self.out.len() {
            let sent =
                ready!(Pin::new(&mut self.socket).poll_write(cx, &self.out[self.out_sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out_sent += sent;
        }
        self.out.clear();
        self.out_sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.plain_read < this.plain.len() {
                let count = buf.remaining().min(this.plain.len() - this.plain_read);
                buf.put_slice(&this.plain[this.plain_read..this.plain_read + count]);
                this.plain_read += count;
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            this.plain.clear();
            this.plain_read = 0;
            let mut bytes = [0; 4_096];
            let mut chunk = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.socket).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                this.ended = true;
                return Poll::Ready(Ok(()));
            }
            let progress = this
                .session
                .receive(chunk.filled_mut(), &mut this.plain, &mut this.out);
            // An answer to a key update is sent when the socket accepts it, before any later write.
            let _ = this.poll_out(cx)?;
            this.ended = progress.map_err(io::Error::other)? == Progress::PeerClosed;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_out(cx))?;
        let this = &mut *self;
        let count = buf.len().min(WRITE_BYTES_MAX);
        this.session
            .seal(&buf[..count], &mut this.out)
            .map_err(io::Error::other)?;
        // The plaintext is encrypted; bytes that the socket does not accept now are sent by the next write or the flush.
        let _ = this.poll_out(cx)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.closing {
            this.closing = true;
            this.session.close_notify(&mut this.out);
        }
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
