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

pub(crate) use nats::{Nats, server_path as nats_server_path};

/// Where `tools/bench/peers/install.sh` puts things.
const INSTALLED: &str = "target/bench/peers";

/// A peer that runs; it ends when this is dropped.
pub(crate) struct Peer {
    /// What it is called in tables.
    pub(crate) name: &'static str,
    /// How its viewers speak.
    pub(crate) viewers: Dialect,
    /// How its publisher speaks.
    pub(crate) publisher: Dialect,
    /// What the publisher sends for a message.
    pub(crate) publish: fn(&str) -> Vec<u8>,
    server: Server,
}

impl Peer {
    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        sys::family(self.server.child.id())
    }
}

/// Starts a peer.
type Start = fn() -> Result<Peer>;

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

    /// Waits until the port is open, then pins every process of it.
    fn ready(&mut self, addr: SocketAddr) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(addr).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once: {status}");
            }
            if start.elapsed() > Duration::from_secs(10) {
                bail!("it does not listen on {addr}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        for pid in sys::family(self.child.id()) {
            sys::pin(pid, sys::SERVER_CORE);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in sys::family(self.child.id()).into_iter().skip(1) {
            if let Some(pid) = i32::try_from(pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
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
