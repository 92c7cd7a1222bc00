//! A bare loop as a child process.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};

use super::{Mode, Stats};
use crate::sys;

/// A running bare loop, pinned to the server's core; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Bare {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    addr: SocketAddr,
}

impl Bare {
    /// Starts one on a free port.
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bare", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the bare loop")?;
        sys::pin(child.id(), sys::SERVER_CORE);
        let commands = child.stdin.take().context("the bare loop has no input")?;
        let mut answers =
            BufReader::new(child.stdout.take().context("the bare loop has no output")?);
        let mut port = String::new();
        answers.read_line(&mut port)?;
        let port: u16 = port.trim().parse().context("the bare loop told no port")?;
        Ok(Self {
            child,
            commands,
            answers,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Begins to send one frame of `frame_bytes` to `group` members (0: to all) every `interval_ns`.
    pub(crate) fn paced(
        &mut self,
        mode: Mode,
        frame_bytes: usize,
        interval_ns: u64,
        group: usize,
    ) -> Result<()> {
        self.say(&format!(
            "paced {} {frame_bytes} {interval_ns} {group}",
            mode.word()
        ))
    }

    /// Begins to send as fast as it can.
    pub(crate) fn flat_out(&mut self, mode: Mode, frame_bytes: usize) -> Result<()> {
        self.say(&format!("flat {} {frame_bytes}", mode.word()))
    }

    /// How messages that ask for it are passed on.
    pub(crate) fn mode(&mut self, mode: Mode) -> Result<()> {
        self.say(&format!("mode {}", mode.word()))
    }

    /// Sends nothing more of itself.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.say("stop")
    }

    /// What it has done so far.
    pub(crate) fn stats(&mut self) -> Result<Stats> {
        self.say("stats")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    fn say(&mut self, command: &str) -> Result<()> {
        writeln!(self.commands, "{command}").context("the bare loop is gone")?;
        self.commands.flush()?;
        Ok(())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
