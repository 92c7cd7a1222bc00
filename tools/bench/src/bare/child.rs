//! A bare loop as a child process.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Order, Stats};
use crate::sys;
use crate::sys::process::Process;

/// The longest an answer is waited for: the loop answers between two broadcasts, each of which takes milliseconds,
/// unless the machine gives it no time at all.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// A running bare loop on the server's core; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Bare {
    process: Process,
    pub(crate) addr: SocketAddr,
}

impl Bare {
    /// Starts one on a free port.
    pub(crate) fn start() -> Result<Self> {
        let mut process = Process::another_self(&["bare"], sys::SERVER_CORE)?;
        let port = process.line("its port", ANSWER_MAX)?;
        let port: u16 = port.parse().context("the bare loop told no port")?;
        Ok(Self {
            process,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn order(&mut self, order: Order) -> Result<()> {
        self.process.say(&serde_json::to_string(&order)?)
    }

    /// What it has done so far.
    pub(crate) fn stats(&mut self) -> Result<Stats> {
        self.order(Order::Stats)?;
        let line = self.process.line("stats", ANSWER_MAX)?;
        Ok(serde_json::from_str(&line)?)
    }
}
