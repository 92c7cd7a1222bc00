//! What could be installed instead of Chorus, each driven by its own way of publishing.

mod nats;
mod nchan;
mod node;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::load::dialect::Dialect;
use crate::sys;
use crate::sys::process::Process;

pub(crate) use nats::{Nats, server_path as nats_server_path};

/// Where `tools/bench/peers/install.sh` puts things.
const INSTALLED: &str = "target/bench/peers";
/// The longest a peer may take to start, and to end: nginx ends its workers itself, and waits for them.
const START_MAX: Duration = Duration::from_secs(10);
const END_MAX: Duration = Duration::from_secs(3);

/// A peer that runs; it ends when this is dropped.
pub(crate) struct Peer {
    process: Process,
    _files: Option<TempDir>,
}

/// How a peer is spoken to.
pub(crate) struct Dialects {
    pub(crate) viewers: Dialect,
    pub(crate) publisher: Dialect,
    /// What the publisher sends for a message.
    pub(crate) publish: fn(&str) -> Vec<u8>,
}

type Start = fn() -> Result<(Peer, Dialects)>;

/// Every peer, what it is called in tables, and how to start it.
pub(crate) const ALL: [(&str, Start); 3] = [
    ("nchan", nchan::start),
    ("nats-server WebSocket", nats::start_websocket),
    ("node ws", node::start),
];

/// A peer that is known and cannot be measured, and why.
pub(crate) const ABSENT: [(&str, &str); 1] = [(
    "Centrifugo",
    "the Go module proxy does not serve github.com/centrifugal/centrifugo/v6, and Debian has no package",
)];

impl Peer {
    /// Starts a program that needs some files.
    fn start(mut command: Command, files: TempDir) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self {
            process: Process::start(command, sys::SERVER_CORE, END_MAX)?,
            _files: Some(files),
        })
    }

    /// Waits until the port is open and so many processes are there, then pins each.
    fn ready(&mut self, addr: SocketAddr, processes: usize) -> Result<()> {
        let look = Duration::from_millis(20);
        let family = self.process.until(START_MAX, look, |pid| {
            let family = sys::family(pid);
            let open = TcpStream::connect_timeout(&addr, Duration::from_secs(1)).is_ok();
            (open && family.len() >= processes).then_some(family)
        })?;
        family
            .into_iter()
            .for_each(|pid| sys::pin(pid, sys::SERVER_CORE));
        Ok(())
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        sys::family(self.process.pid())
    }
}

/// A loopback port that is free now.
pub(crate) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A program of the path.
fn find_program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{name} is not installed (tools/bench/peers/install.sh)"))
}

fn installed(what: &str) -> PathBuf {
    Path::new(INSTALLED).join(what)
}
