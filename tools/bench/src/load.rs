//! The load: one thread, one epoll, any number of connections. It reads what servers send, counts it and finds the
//! posts' marks in it, and parses nothing else.

mod conn;
mod counts;
pub(crate) mod crowd;
pub(crate) mod dialect;
pub(crate) mod posts;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::{TimerfdClockId, TimerfdFlags};
use socket2::{Domain, Socket, Type};

use crate::sys::{self, now_ns};
use conn::{Conn, State};
use dialect::{Dialect, Ready};
use posts::Posts;

pub(crate) use counts::Counts;

const TIMER: u64 = u64::MAX;
/// Connections that may be opening at once.
const OPENING_MAX: usize = 128;
/// Local addresses that connections to the loopback are spread over, for want of ports.
const SOURCES: usize = 16;
/// Ticks made up for after a delay; more are dropped.
const CATCH_UP_MAX: u64 = 64;

pub(crate) type ConnId = usize;
pub(crate) type GroupId = usize;

/// Connections that speak alike.
pub(crate) struct Group {
    pub(crate) dialect: Dialect,
    pub(crate) counts: Counts,
    pub(crate) members: Vec<ConnId>,
    /// Connections opened so far: numbers the next one.
    pub(crate) opened: usize,
    /// Close each as soon as it is ready.
    pub(crate) close_when_ready: bool,
}

/// All connections.
pub(crate) struct Engine {
    epoll: OwnedFd,
    timer: OwnedFd,
    conns: Vec<Option<Box<Conn>>>,
    free: Vec<ConnId>,
    pub(crate) groups: Vec<Group>,
    /// What was posted and who has it.
    pub(crate) posts: Posts,
    opening: usize,
    buffer: Vec<u8>,
    plain: Vec<u8>,
    deadline: Instant,
}

impl Engine {
    /// Without connections; whatever waits here fails once `deadline` is past.
    pub(crate) fn until(deadline: Instant) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        Ok(Self {
            epoll,
            timer,
            conns: Vec::new(),
            free: Vec::new(),
            groups: Vec::new(),
            posts: Posts::default(),
            opening: 0,
            buffer: vec![0; 262_144],
            plain: vec![0; 65_536],
            deadline,
        })
    }

    /// How long this may still be used.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// A group to connect with.
    pub(crate) fn group(&mut self, dialect: Dialect) -> GroupId {
        self.groups.push(Group {
            dialect,
            counts: Counts::default(),
            members: Vec::new(),
            opened: 0,
            close_when_ready: false,
        });
        self.groups.len() - 1
    }

    /// What some groups have seen together so far.
    pub(crate) fn counts(&self, groups: &[GroupId]) -> Counts {
        let counts = groups.iter().map(|group| &self.groups[*group].counts);
        counts.fold(Counts::default(), Counts::and)
    }

    /// A group of `count` connections, each of which is ready.
    pub(crate) fn join(&mut self, dialect: Dialect, count: usize) -> Result<GroupId> {
        let group = self.group(dialect);
        self.connect(group, count)?;
        Ok(group)
    }

    /// Opens `count` connections and waits until each is ready.
    fn connect(&mut self, group: GroupId, count: usize) -> Result<()> {
        let wanted = self.groups[group].counts.ready + count as u64;
        let lost_before = self.groups[group].counts.lost;
        let mut started = 0;
        let mut last = (now_ns(), 0);
        while self.groups[group].counts.ready < wanted {
            while started < count && self.opening < OPENING_MAX {
                self.open_one(group)?;
                started += 1;
            }
            self.turn(Duration::from_millis(20))?;
            let counts = &self.groups[group].counts;
            if counts.lost > lost_before {
                bail!("a connection was refused while opening: {}", counts.refusal);
            }
            if counts.ready != last.1 {
                last = (now_ns(), counts.ready);
            } else if now_ns() - last.0 > 15_000_000_000 {
                bail!(
                    "{} of {count} connections are ready and no more came for 15 s",
                    counts.ready + count as u64 - wanted
                );
            }
        }
        Ok(())
    }

    /// Begins to open one connection.
    pub(crate) fn open_one(&mut self, group: GroupId) -> Result<ConnId> {
        let number = self.groups[group].opened;
        let dialect = &self.groups[group].dialect;
        let socket = Socket::new(Domain::for_address(dialect.addr), Type::STREAM, None)?;
        if dialect.addr.ip().is_loopback() && dialect.addr.is_ipv4() {
            let source = Ipv4Addr::new(127, 0, 2, (1 + number % SOURCES) as u8);
            socket.bind(&SocketAddr::from((IpAddr::V4(source), 0)).into())?;
        }
        if let Some(bytes) = dialect.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket
            .connect_timeout(&dialect.addr.into(), Duration::from_secs(5))
            .with_context(|| format!("connecting to {}", dialect.addr))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let mut conn = Box::new(Conn::new(socket.into(), group, number, dialect)?);
        let id = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        let data = EventData::new_u64(id as u64);
        epoll::add(&self.epoll, &conn.socket, data, EventFlags::IN)?;
        conn.write(Dialect::of(&dialect.requests, number))?;
        let raw = matches!(dialect.ready, Ready::Raw);
        let waiting = conn.is_blocked();
        self.conns[id] = Some(conn);
        if waiting {
            self.watch(id, EventFlags::IN | EventFlags::OUT)?;
        }
        let group = &mut self.groups[group];
        group.opened += 1;
        group.members.push(id);
        if raw {
            group.counts.ready += 1;
        } else {
            self.opening += 1;
        }
        Ok(id)
    }

    /// Sends bytes that are framed already. What the socket does not take at once waits.
    pub(crate) fn send(&mut self, id: ConnId, bytes: &[u8]) -> Result<()> {
        let Some(Some(conn)) = self.conns.get_mut(id) else {
            bail!("that connection is gone")
        };
        conn.write(bytes)?;
        if conn.is_blocked() {
            self.watch(id, EventFlags::IN | EventFlags::OUT)?;
        }
        Ok(())
    }

    /// Waits for a connection to be readable or writable; for the first only while it is read.
    fn watch(&self, id: ConnId, mut what: EventFlags) -> Result<()> {
        if let Some(Some(conn)) = self.conns.get(id) {
            if conn.paused {
                what.remove(EventFlags::IN);
            }
            let data = EventData::new_u64(id as u64);
            epoll::modify(&self.epoll, &conn.socket, data, what)?;
        }
        Ok(())
    }

    /// Stops reading a connection.
    pub(crate) fn pause(&mut self, id: ConnId) -> Result<()> {
        if let Some(Some(conn)) = self.conns.get_mut(id) {
            conn.paused = true;
        }
        self.watch(id, EventFlags::empty())
    }

    /// Whether the server has ended a connection.
    pub(crate) fn is_open(&self, id: ConnId) -> bool {
        self.conns.get(id).is_some_and(Option::is_some)
    }

    /// Runs for a while; with an interval, `publish` is called once a tick.
    pub(crate) fn run(
        &mut self,
        during: Duration,
        interval: Option<Duration>,
        publish: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let interval_ns = interval.unwrap_or_default().as_nanos() as u64;
        sys::arm(&self.timer, interval_ns)?;
        let end = now_ns() + during.as_nanos() as u64;
        loop {
            let now = now_ns();
            if now >= end {
                break;
            }
            let ticks = self.turn(Duration::from_nanos((end - now).max(1_000_000)))?;
            for _ in 0..ticks.min(CATCH_UP_MAX) {
                publish(self)?;
            }
        }
        sys::arm(&self.timer, 0)
    }

    /// Goes on reading for a while and publishes nothing.
    pub(crate) fn settle(&mut self, during: Duration) -> Result<()> {
        self.run(during, None, &mut |_| Ok(()))
    }

    /// Goes on reading for at least `min`, until nothing more comes to some groups or `max` is over.
    pub(crate) fn drain(&mut self, groups: &[GroupId], min: Duration, max: Duration) -> Result<()> {
        let end = now_ns() + max.as_nanos() as u64;
        self.settle(min)?;
        loop {
            let before = self.counts(groups).bytes;
            self.settle(min / 5)?;
            if self.counts(groups).bytes == before || now_ns() >= end {
                return Ok(());
            }
        }
    }

    /// Waits once and takes what came; says how many ticks have passed.
    fn turn(&mut self, wait: Duration) -> Result<u64> {
        if Instant::now() > self.deadline {
            bail!("the row's share of the time is over");
        }
        let mut events = Vec::with_capacity(1024);
        let wait = sys::timespec(wait);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ticks = 0;
        for event in &events {
            match event.data.u64() {
                TIMER => {
                    let mut expired = [0_u8; 8];
                    if rustix::io::read(&self.timer, &mut expired).is_ok() {
                        ticks = u64::from_ne_bytes(expired);
                    }
                }
                id => self.ready(id as ConnId, event.flags)?,
            }
        }
        Ok(ticks)
    }

    fn ready(&mut self, id: ConnId, flags: EventFlags) -> Result<()> {
        let Some(mut conn) = self.conns.get_mut(id).and_then(Option::take) else {
            return Ok(());
        };
        let was = conn.state;
        let group = &mut self.groups[conn.group];
        let mut alive = !(conn.paused && flags.intersects(EventFlags::HUP | EventFlags::ERR));
        let mut flushed = false;
        if flags.contains(EventFlags::OUT) {
            alive &= conn.flush().is_ok();
            flushed = !conn.is_blocked() && !conn.paused;
        }
        if alive && !conn.paused {
            let (buffer, plain) = (&mut self.buffer, &mut self.plain);
            alive = conn.read(buffer, plain, group, &mut self.posts).is_some();
        }
        let done = was != State::Open && conn.state == State::Open;
        if done {
            self.opening -= 1;
            group.counts.ready += 1;
        }
        if done && group.close_when_ready {
            self.free.push(id);
            group.members.retain(|member| *member != id);
            return Ok(());
        }
        if !alive {
            self.opening -= usize::from(conn.state != State::Open);
            group.counts.lost += 1;
            self.free.push(id);
            return Ok(());
        }
        let blocked = conn.is_blocked();
        self.conns[id] = Some(conn);
        if blocked {
            self.watch(id, EventFlags::IN | EventFlags::OUT)?;
        } else if flushed {
            self.watch(id, EventFlags::IN)?;
        }
        Ok(())
    }
}
