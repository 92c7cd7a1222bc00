//! A PoP: the bench's own, or one that runs already.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::http;
use crate::load::dialect::Tls;
use crate::sys;
use crate::sys::process::Process;

/// The longest a PoP may take until it is ready.
const START_MAX: Duration = Duration::from_secs(30);

/// A PoP under test.
#[derive(Debug)]
pub(crate) struct Pop {
    pub(crate) addr: SocketAddr,
    pub(crate) tls: Option<Tls>,
    pub(crate) pid: u32,
    pub(super) own: Option<Own>,
    /// More are not to be had.
    pub(super) tokens_given: bool,
    pub(super) tokens: Vec<String>,
}

/// How the bench starts a PoP of its own.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) program: PathBuf,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
    pub(super) process: Option<Process>,
}

impl Pop {
    /// One that runs already.
    pub(crate) fn given(url: &str, pid: u32, tokens: Vec<String>) -> Result<Self> {
        let (tls, rest) = match url.split_once("://") {
            Some(("ws" | "http", rest)) => (None, rest),
            Some(("wss" | "https", rest)) => (Some(Tls::new()?), rest),
            _ => bail!("{url} is neither ws:// nor wss://"),
        };
        let host = rest.split('/').next().unwrap_or(rest);
        let mut addrs = host.to_socket_addrs()?;
        Ok(Self {
            addr: addrs
                .next()
                .with_context(|| format!("{host} has no address"))?,
            tls,
            pid,
            own: None,
            tokens_given: !tokens.is_empty(),
            tokens,
        })
    }

    /// Asks it by HTTP.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Result<String> {
        http::ask(self.addr, self.tls.as_ref(), method, path, body)
    }

    /// Starts it, killed first where it runs; says how long it took until it was ready to take viewers.
    pub(crate) fn restart(&mut self) -> Result<Duration> {
        let Some(own) = &mut self.own else {
            bail!("a PoP that is not the bench's own is not restarted")
        };
        own.process = None;
        let begun = Instant::now();
        let mut command = Command::new(&own.program);
        command.arg("--config").arg(&own.config);
        command.args(["--exit-with-parent", "--log", "text"]);
        let core = sys::SERVER_CORE;
        let mut process = Process::logging(command, &own.log, core, Duration::ZERO)?;
        let (addr, tls) = (self.addr, self.tls.as_ref());
        process.until(START_MAX, Duration::from_millis(2), |_| {
            http::ask(addr, tls, "GET", "/readyz", "").ok()
        })?;
        let took = begun.elapsed();
        self.pid = process.pid();
        // Threads started since then inherited the core; those before it was pinned may not have.
        sys::pin(self.pid, core);
        own.process = Some(process);
        Ok(took)
    }

    /// The tokens of `count` users.
    pub(crate) fn tokens(&mut self, count: usize) -> Result<Vec<String>> {
        while self.tokens.len() < count {
            let known = self.tokens.len();
            if self.tokens_given {
                bail!("{count} users are needed and --tokens has {known}");
            }
            let body = json!({"username": format!("bench{known}")}).to_string();
            let answer = self.ask("POST", "/api/dev/token", &body)?;
            let answer: Value = serde_json::from_str(&answer)?;
            let token = answer["token"].as_str();
            self.tokens
                .push(token.context("an answer without a token")?.to_owned());
        }
        Ok(self.tokens[..count].to_vec())
    }

    /// Whether it sends by `io_uring`.
    pub(crate) fn has_uring(&self) -> bool {
        let files = fs::read_dir(format!("/proc/{}/fd", self.pid));
        files.into_iter().flatten().flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().contains("[io_uring]"))
        })
    }
}
