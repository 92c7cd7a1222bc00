//! A UDP socket that wakes its task only when there is something to read.
//!
//! `quinn`'s own socket registers for writability too, so that each packet that leaves the kernel's queue wakes the task
//! without need; and it reads once more after every read, which returns nothing.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Bytes of the kernel's buffers for the socket, each for sending and receiving; the kernel may allow fewer.
const SOCKET_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Socket {
    io: AsyncFd<std::net::UdpSocket>,
    state: UdpSocketState,
    /// The last packet did not fit into the kernel's buffer. While this is false, the poll for writability, which `quinn`
    /// does before every packet, needs no system call.
    full: AtomicBool,
}

impl Socket {
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        // This makes it non-blocking.
        let state = UdpSocketState::new((&socket).into())?;
        // The kernel may give less; then more packets are lost while the thread sleeps or is delayed, and sent again.
        let _ = state.set_recv_buffer_size((&socket).into(), SOCKET_BYTES);
        let _ = state.set_send_buffer_size((&socket).into(), SOCKET_BYTES);
        let io = register(socket, Interest::READABLE)?;
        Ok(Self {
            io,
            state,
            full: AtomicBool::new(false),
        })
    }
}

/// Registers a descriptor with the runtime's reactor.
#[allow(
    unsafe_code,
    reason = "AsyncFd::register_with_interest is unsafe; see SAFETY"
)]
fn register<T: AsFd + AsRawFd>(descriptor: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: the descriptor stays open until `AsyncFd` has deregistered it: it is moved in and never taken out here, and
    // a type that is `AsFd` owns its descriptor and returns the same one each time.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    registered.map_err(io::Error::from)
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room {
            socket: self,
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.io.get_ref().into(), transmit);
        if matches!(&sent, Err(error) if error.kind() == ErrorKind::WouldBlock) {
            self.full.store(true, Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.io.poll_read_ready(context))?;
            match self.state.recv(self.io.get_ref().into(), buffers, metas) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                read => {
                    // Fewer packets than buffers mean that the kernel has no more; a later packet sets readiness again.
                    if matches!(read, Ok(count) if count < buffers.len()) {
                        ready.clear_ready();
                    }
                    return Poll::Ready(read);
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

/// Waits until a full kernel buffer has room again.
#[derive(Debug)]
struct Room {
    socket: Arc<Socket>,
    /// A second descriptor of the socket, registered for writability only while waiting, which is rare.
    waiting: Option<AsyncFd<OwnedFd>>,
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.socket.full.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None => {
                let handle = self.socket.io.get_ref().as_fd().try_clone_to_owned()?;
                register(handle, Interest::WRITABLE)?
            }
        };
        match waiting.poll_write_ready(context) {
            Poll::Ready(ready) => {
                self.socket.full.store(false, Relaxed);
                Poll::Ready(ready.map(|_| ()))
            }
            Poll::Pending => {
                self.waiting = Some(waiting);
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::UdpSocket;
    use std::time::Duration;

    use anyhow::Result;
    use quinn::udp::Transmit;
    use tokio::time::timeout;

    use super::*;

    const WAIT: Duration = Duration::from_secs(10);
    const PACKET: [u8; 1_000] = [7; 1_000];

    fn socket() -> Result<Arc<Socket>> {
        Ok(Arc::new(Socket::new(UdpSocket::bind("127.0.0.1:0")?)?))
    }

    /// Waits for packets and returns how many came.
    async fn receive(socket: &Socket) -> Result<usize> {
        let mut room = vec![[0_u8; 2_000]; 4];
        let mut buffers: Vec<_> = room
            .iter_mut()
            .map(|bytes| IoSliceMut::new(bytes))
            .collect();
        let mut metas = [RecvMeta::default(); 4];
        let came = poll_fn(|context| socket.poll_recv(context, &mut buffers, &mut metas));
        let count = timeout(WAIT, came).await??;
        // The kernel may have coalesced packets of one sender.
        let packets = |meta: &RecvMeta| meta.len / meta.stride.max(1);
        Ok(metas[..count].iter().map(packets).sum())
    }

    fn send(from: &Socket, to: &Socket) -> Result<io::Result<()>> {
        Ok(from.try_send(&Transmit {
            destination: to.local_addr()?,
            ecn: None,
            contents: &PACKET,
            segment_size: None,
            src_ip: None,
        }))
    }

    #[tokio::test]
    async fn whatever_comes_before_or_after_a_short_read_is_read() -> Result<()> {
        let (one, other) = (socket()?, socket()?);
        for burst in [1, 3, 4, 5, 9, 1] {
            for _ in 0..burst {
                send(&one, &other)??;
            }
            let mut came = 0;
            while came < burst {
                came += receive(&other).await?;
            }
            assert_eq!(came, burst);
        }
        let late = tokio::spawn({
            let other = Arc::clone(&other);
            async move { receive(&other).await }
        });
        tokio::task::yield_now().await;
        send(&one, &other)??;
        assert_eq!(late.await??, 1);
        Ok(())
    }

    #[tokio::test]
    async fn a_socket_without_room_is_waited_for_and_then_takes_more() -> Result<()> {
        // A pair of Unix sockets replaces a slow network card, because UDP over the loopback never fills its buffer.
        let (one, other) = std::os::unix::net::UnixDatagram::pair()?;
        one.set_nonblocking(true)?;
        while one.send(&PACKET).is_ok() {}
        let full = Arc::new(Socket {
            io: register(UdpSocket::from(OwnedFd::from(one)), Interest::READABLE)?,
            state: UdpSocketState::new((&UdpSocket::bind("127.0.0.1:0")?).into())?,
            full: AtomicBool::new(true),
        });
        let mut room = Arc::clone(&full).create_io_poller();
        let pending = timeout(
            Duration::from_millis(50),
            poll_fn(|context| room.as_mut().poll_writable(context)),
        );
        assert!(pending.await.is_err(), "there is no room");
        let drain = tokio::task::spawn_blocking(move || {
            other.set_nonblocking(true)?;
            let mut bytes = [0; 2_000];
            while other.recv(&mut bytes).is_ok() {}
            io::Result::Ok(other)
        });
        timeout(
            WAIT,
            poll_fn(|context| room.as_mut().poll_writable(context)),
        )
        .await??;
        let _other = drain.await??;
        assert_eq!(full.io.get_ref().send(&PACKET)?, PACKET.len());
        Ok(())
    }
}
