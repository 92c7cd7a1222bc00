//! The physical limit: an epoll loop that accepts, upgrades and writes one prebuilt frame to all, and decides nothing.
//!
//! It runs as a process of its own and takes an [`Order`] a line, as JSON, on standard input.

pub(crate) mod child;
mod send;
mod uring;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use chorus_telemetry::say;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::{TimerfdClockId, TimerfdFlags, Timespec};
use serde::{Deserialize, Serialize};

use crate::sys;
use crate::ws::{self, Head};
use send::Sender;

pub(crate) use send::Mode;

const LISTENER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const CONTROL: u64 = u64::MAX - 2;
/// Connections taken from the listener before the loop looks at anything else.
const ACCEPTS_MAX: usize = 64;

/// What the loop is to do next.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Send a frame of so many bytes to `group` members (0: to all).
    Send {
        mode: Mode,
        frame_bytes: usize,
        /// From one frame to the next, in nanoseconds; without it as fast as it can.
        interval_ns: Option<u64>,
        group: usize,
    },
    /// Pass messages that ask for it on to all, in this way.
    Pass(Mode),
    /// Send nothing more of itself.
    Stop,
    /// Print the [`Stats`] as a line.
    Stats,
}

/// What the loop has done since it began.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Frames taken by a socket.
    pub(crate) sent: u64,
    /// Client frames read.
    pub(crate) frames_read: u64,
    /// Connections now.
    pub(crate) open: u64,
}

struct Conn {
    socket: TcpStream,
    upgraded: bool,
    carry: Vec<u8>,
}

struct Server {
    epoll: OwnedFd,
    timer: OwnedFd,
    listener: TcpListener,
    /// The beginning of an order that is not there whole.
    order: Vec<u8>,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    /// The sockets of all upgraded connections, packed for iteration, and whose they are.
    members: Vec<i32>,
    sender: Sender,
    frame: Vec<u8>,
    group: usize,
    next_group: usize,
    flat: bool,
    stats: Stats,
    buffer: Vec<u8>,
}

/// Runs until standard input ends. Prints the port first.
pub(crate) fn run() -> Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(4096)?;
    let listener: TcpListener = socket.into();
    listener.set_nonblocking(true)?;
    say!("{}", listener.local_addr()?.port());
    std::io::stdout().flush()?;

    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let watch = |data| EventData::new_u64(data);
    epoll::add(&epoll, &listener, watch(LISTENER), EventFlags::IN)?;
    epoll::add(&epoll, &timer, watch(TIMER), EventFlags::IN)?;
    epoll::add(&epoll, std::io::stdin(), watch(CONTROL), EventFlags::IN)?;
    let mut server = Server {
        epoll,
        timer,
        listener,
        order: Vec::new(),
        conns: Vec::new(),
        free: Vec::new(),
        members: Vec::new(),
        sender: Sender::new()?,
        frame: Vec::new(),
        group: 0,
        next_group: 0,
        flat: false,
        stats: Stats::default(),
        buffer: vec![0; 65_536],
    };
    server.serve()
}

impl Server {
    fn serve(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(1024);
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        loop {
            events.clear();
            let timeout = self.flat.then_some(&now);
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    TIMER => self.tick(),
                    CONTROL => {
                        if !self.orders()? {
                            return Ok(());
                        }
                    }
                    index => self.readable(index as usize),
                }
            }
            if self.flat {
                self.broadcast();
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        for _ in 0..ACCEPTS_MAX {
            let Ok((socket, _)) = self.listener.accept() else {
                break;
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or_else(|| {
                self.conns.push(None);
                self.conns.len() - 1
            });
            let data = EventData::new_u64(index as u64);
            epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
            self.conns[index] = Some(Conn {
                socket,
                upgraded: false,
                carry: Vec::new(),
            });
        }
        Ok(())
    }

    fn tick(&mut self) {
        let mut expired = [0_u8; 8];
        if rustix::io::read(&self.timer, &mut expired).is_ok() {
            self.broadcast();
        }
    }

    /// One frame to all members, or to the next group of them.
    fn broadcast(&mut self) {
        if self.members.is_empty() || self.frame.is_empty() {
            return;
        }
        let range = if self.group == 0 || self.group >= self.members.len() {
            0..self.members.len()
        } else {
            let start = (self.next_group * self.group) % self.members.len();
            self.next_group += 1;
            start..(start + self.group).min(self.members.len())
        };
        self.stats.sent += self.sender.send(&self.members[range], &self.frame);
    }

    fn readable(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let Some(Some(conn)) = self.conns.get_mut(index) else {
            self.buffer = buffer;
            return;
        };
        match rustix::net::recv(&conn.socket, &mut buffer, RecvFlags::empty()) {
            Ok((len, _)) if len > 0 => {
                if self.read(index, &mut buffer[..len]).is_none() {
                    self.close(index);
                }
            }
            Err(rustix::io::Errno::AGAIN) => {}
            Ok(_) | Err(_) => self.close(index),
        }
        self.buffer = buffer;
    }

    fn close(&mut self, index: usize) {
        let Some(conn) = self.conns[index].take() else {
            return;
        };
        let fd = conn.socket.as_raw_fd();
        if let Some(at) = self.members.iter().position(|member| *member == fd) {
            self.members.swap_remove(at);
            self.stats.open -= 1;
        }
        self.free.push(index);
    }

    /// Takes what a client sent. `None`: close it.
    fn read(&mut self, index: usize, bytes: &mut [u8]) -> Option<()> {
        let conn = self.conns[index].as_mut()?;
        if conn.carry.is_empty() && conn.upgraded {
            let used = self.frames(bytes)?;
            if used < bytes.len() {
                self.conns[index].as_mut()?.carry = bytes[used..].to_vec();
            }
            return Some(());
        }
        let mut all = std::mem::take(&mut conn.carry);
        all.extend_from_slice(bytes);
        if !conn.upgraded {
            let Some(end) = memchr::memmem::find(&all, b"\r\n\r\n") else {
                conn.carry = all;
                return Some(());
            };
            let key = key_of(&all[..end])?;
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\n\r\n",
                ws::accept_key(key)
            );
            rustix::net::send(&conn.socket, answer.as_bytes(), SendFlags::NOSIGNAL).ok()?;
            conn.upgraded = true;
            self.members.push(conn.socket.as_raw_fd());
            self.stats.open += 1;
            all.drain(..end + 4);
        }
        let used = self.frames(&mut all)?;
        all.drain(..used);
        all.shrink_to_fit();
        self.conns[index].as_mut()?.carry = all;
        Some(())
    }

    /// Takes the whole frames of some bytes and says how many bytes they were. `None`: a close.
    fn frames(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let mut used = 0;
        while let Some(head) = Head::read(&bytes[used..]) {
            let Some(payload) =
                bytes.get_mut(used + head.head_len..used.saturating_add(head.len()))
            else {
                break;
            };
            ws::unmask(payload, head.mask?);
            self.stats.frames_read += 1;
            if head.opcode == ws::CLOSE {
                return None;
            }
            // A message that asks to be passed on to all: the bare form of a comment.
            if let Some(message) = payload.strip_prefix(b"!") {
                self.frame = ws::server_frame(ws::TEXT, message);
                self.broadcast();
            }
            used += head.len();
        }
        Some(used)
    }

    /// Carries out what has come on standard input; false when that has ended. One read may bring several orders.
    fn orders(&mut self) -> Result<bool> {
        let mut buffer = [0; 4_096];
        let read = rustix::io::read(std::io::stdin(), &mut buffer)?;
        self.order.extend_from_slice(&buffer[..read]);
        while let Some(end) = memchr::memchr(b'\n', &self.order) {
            let order = serde_json::from_slice(&self.order[..end])?;
            self.order.drain(..=end);
            self.obey(order)?;
        }
        Ok(read > 0)
    }

    fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Send {
                mode,
                frame_bytes,
                interval_ns,
                group,
            } => {
                self.sender.mode = mode;
                self.group = group;
                let head = if frame_bytes < 128 { 2 } else { 4 };
                let payload = vec![b'x'; frame_bytes.saturating_sub(head)];
                self.frame = ws::server_frame(ws::TEXT, &payload);
                self.flat = interval_ns.is_none();
                sys::arm(&self.timer, interval_ns.unwrap_or_default())
            }
            Order::Pass(mode) => {
                self.sender.mode = mode;
                self.group = 0;
                Ok(())
            }
            Order::Stop => {
                self.flat = false;
                sys::arm(&self.timer, 0)
            }
            Order::Stats => {
                say!("{}", serde_json::to_string(&self.stats)?);
                std::io::stdout().flush().context("standard output")
            }
        }
    }
}

fn key_of(request: &[u8]) -> Option<&[u8]> {
    request.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(b"sec-websocket-key:".len())?;
        name.eq_ignore_ascii_case(b"sec-websocket-key:")
            .then(|| value.trim_ascii())
    })
}
