//! What could be installed instead of Chorus, each driven by its own way of publishing.

mod nats;
mod nchan;
mod node;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::load::dialect::Dialect;
use crate::sys;
use crate::sys::child::ended_within;

pub(crate) use nats::{Nats, server_path as nats_server_path};

/// Where `tools/bench/peers/install.sh` puts things.
const INSTALLED: &str = "target/bench/peers";

/// A peer that runs; it ends when this is dropped.
pub(crate) struct Peer {
    /// What it is called in tables.
    pub(crate) name: &'static str,
    /// What the publisher sends for a message.
    pub(crate) publish: fn(&str) -> Vec<u8>,
    viewers: Option<Dialect>,
    publisher: Option<Dialect>,
    server: Server,
}

impl Peer {
    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        sys::family(self.server.child.id())
    }

    /// How its viewers and its publisher speak; once.
    pub(crate) fn dialects(&mut self) -> Result<(Dialect, Dialect)> {
        (self.viewers.take().zip(self.publisher.take())).context("they were taken already")
    }
}

/// Starts a peer.
pub(crate) type Start = fn() -> Result<Peer>;

/// Every peer and how to start it.
pub(crate) const ALL: [(&str, Start); 3] = [
    (nchan::NAME, nchan::start),
    (nats::NAME, nats::start_websocket),
    (node::NAME, node::start),
];

/// A peer that is known and cannot be measured, and why.
pub(crate) const ABSENT: [(&str, &str); 1] = [(
    "Centrifugo",
    "the Go module proxy does not serve github.com/centrifugal/centrifugo/v6, and Debian has no package",
)];

/// A server process with its files, pinned to the server's core.
struct Server {
    child: Child,
    _files: Option<tempfile::TempDir>,
}

impl Server {
    fn start(command: &mut Command, files: Option<tempfile::TempDir>) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
        Ok(Self {
            child,
            _files: files,
        })
    }

    /// Waits until the port is open and so many processes are there, then pins each.
    fn ready(&mut self, addr: SocketAddr, processes: usize) -> Result<()> {
        let start = Instant::now();
        let family = loop {
            let family = sys::family(self.child.id());
            let open = TcpStream::connect_timeout(&addr, Duration::from_secs(1)).is_ok();
            if open && family.len() >= processes {
                break family;
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once: {status}");
            }
            if start.elapsed() > Duration::from_secs(10) {
                bail!(
                    "{} of its {processes} processes are there and {addr} is {}",
                    family.len(),
                    if open { "open" } else { "closed" }
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        for pid in family {
            sys::pin(pid, sys::SERVER_CORE);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first: nginx then ends its workers itself, and waits for them.
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if ended_within(&mut self.child, Duration::from_secs(3)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A loopback port that is free now.
pub(crate) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A program of the path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

fn installed(what: &str) -> PathBuf {
    Path::new(INSTALLED).join(what)
}
