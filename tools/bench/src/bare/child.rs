//! A bare loop as a child process.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Mode, Stats};
use crate::sys;
use crate::sys::child::Lines;

/// The longest an answer is waited for: the loop answers between two broadcasts, each of which takes milliseconds,
/// unless the machine gives it no time at all.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A running bare loop, pinned to the server's core; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Bare {
    child: Child,
    commands: ChildStdin,
    answers: Lines,
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
        let output = child.stdout.take().context("the bare loop has no output")?;
        let answers = Lines::of("the bare loop", output);
        let port = answers.next("its port", ANSWER_MAX)?;
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
        let line = self.answers.next("stats", ANSWER_MAX)?;
        Ok(serde_json::from_str(&line)?)
    }

    fn say(&mut self, command: &str) -> Result<()> {
        // One write a line: the loop, once woken, waits for the rest of a line it has begun to read.
        self.commands
            .write_all(format!("{command}\n").as_bytes())
            .context("the bare loop is gone")
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
