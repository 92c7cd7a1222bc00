//! A second load process: viewers of a bare loop that are too many for the files of one process.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chorus_telemetry::say;

use super::Engine;
use super::dialect::Dialect;
use crate::sys;
use crate::sys::child::{Lines, ended_within};

/// What it says when all are connected.
const READY: &str = "ready";
/// How often it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// Viewers in a process of their own, on the load's core; they leave when this is dropped.
#[derive(Debug)]
pub(crate) struct Crowd {
    child: Child,
    wanted: Option<ChildStdin>,
}

impl Crowd {
    /// Connects so many to a bare loop, in `within` at most.
    pub(crate) fn start(addr: SocketAddr, viewers: usize, within: Duration) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["crowd", "--addr", &addr.to_string()])
            .args(["--viewers", &viewers.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the second load process")?;
        sys::pin(child.id(), sys::LOAD_CORE);
        let wanted = child.stdin.take();
        let output = child.stdout.take().context("it has no output")?;
        let crowd = Self { child, wanted };
        let said = Lines::of("the second load process", output).next(READY, within)?;
        if said != READY {
            bail!("the second load process: {said}");
        }
        Ok(crowd)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.wanted.take());
        if ended_within(&mut self.child, Duration::from_secs(5)).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The process: connects, says so, and reads until its standard input ends.
pub(crate) fn run(addr: SocketAddr, viewers: usize) -> Result<()> {
    sys::raise_files(40_000);
    // Whoever started this ends it; it does not outlive the longest row by itself.
    let mut engine = Engine::until(Instant::now() + Duration::from_secs(900))?;
    let group = engine.group(Dialect::websocket(addr, "/", &[]));
    engine.connect(group, viewers)?;
    say!("{READY}");
    std::io::stdout().flush()?;
    let ended = Arc::new(AtomicBool::new(false));
    let at_end = Arc::clone(&ended);
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
        at_end.store(true, Ordering::Relaxed);
    });
    while !ended.load(Ordering::Relaxed) {
        engine.settle(LOOK)?;
    }
    Ok(())
}
