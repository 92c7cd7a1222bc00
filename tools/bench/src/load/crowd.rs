//! A second load process: viewers of a bare loop that are too many for the files of one process.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use chorus_telemetry::say;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::Engine;
use super::dialect::Dialect;
use crate::sys;
use crate::sys::process::Process;

/// What it says when all are connected.
const READY: &str = "ready";
/// The longest it lives.
const LIFE: Duration = Duration::from_secs(900);

/// Starts a process on the load's core that connects so many viewers to a bare loop, in `within` at most; they leave
/// when it is dropped.
pub(crate) fn start(addr: SocketAddr, viewers: usize, within: Duration) -> Result<Process> {
    let args = ["crowd", &addr.to_string(), &viewers.to_string()];
    let mut process = Process::another_self(&args, sys::LOAD_CORE)?;
    let said = process.line(READY, within)?;
    if said != READY {
        bail!("the second load process: {said}");
    }
    Ok(process)
}

/// The process: connects, says so, and reads until it is ended.
pub(crate) fn run(addr: SocketAddr, viewers: usize) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    sys::raise_files(40_000);
    let mut engine = Engine::until(Instant::now() + LIFE)?;
    engine.join(Dialect::websocket(addr, "/", &[]), viewers)?;
    say!("{READY}");
    std::io::stdout().flush()?;
    engine.settle(LIFE)
}
