//! A PoP: the bench's own, or one that runs already.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::tail;
use crate::http;
use crate::load::dialect::Tls;
use crate::sys;

/// The longest a PoP may take until it is ready.
const START_MAX: Duration = Duration::from_secs(30);

/// A PoP under test.
#[derive(Debug)]
pub(crate) struct Pop {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    /// How TLS is spoken with it.
    pub(crate) tls: Option<Tls>,
    /// Its process.
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
    pub(super) child: Option<Child>,
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
        let addr = host
            .to_socket_addrs()?
            .next()
            .with_context(|| format!("{host} has no address"))?;
        Ok(Self {
            addr,
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
        if let Some(mut child) = own.child.take() {
            child.kill()?;
            child.wait()?;
        }
        let begun = Instant::now();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&own.log)?;
        let child = Command::new(&own.program)
            .arg("--config")
            .arg(&own.config)
            .args(["--exit-with-parent", "--log", "text"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting chorus-edge")?;
        self.pid = child.id();
        sys::pin(self.pid, sys::SERVER_CORE);
        own.child = Some(child);
        let log = own.log.clone();
        loop {
            if self.ask("GET", "/readyz", "").is_ok() {
                break;
            }
            let ended = self
                .own
                .as_mut()
                .and_then(|own| own.child.as_mut())
                .map(Child::try_wait);
            if let Some(Ok(Some(status))) = ended {
                bail!(
                    "chorus-edge ended ({status}): {}",
                    tail(&fs::read_to_string(&log).unwrap_or_default())
                );
            }
            if begun.elapsed() > START_MAX {
                bail!(
                    "chorus-edge is not ready: {}",
                    tail(&fs::read_to_string(&log).unwrap_or_default())
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = begun.elapsed();
        // Threads started since then inherited the core; those before `pin` may not have.
        sys::pin(self.pid, sys::SERVER_CORE);
        Ok(took)
    }

    /// The tokens of `count` users.
    pub(crate) fn tokens(&mut self, count: usize) -> Result<Vec<String>> {
        while self.tokens.len() < count {
            if self.tokens_given {
                bail!(
                    "{count} users are needed and --tokens has {}",
                    self.tokens.len()
                );
            }
            let body = format!("{{\"username\":\"bench{}\"}}", self.tokens.len());
            let answer: Value =
                serde_json::from_str(&self.ask("POST", "/api/dev/token", &body)?)?;
            let token = answer
                .get("token")
                .and_then(Value::as_str)
                .context("an answer without a token")?;
            self.tokens.push(token.to_owned());
        }
        Ok(self.tokens[..count].to_vec())
    }

    /// Whether it sends by `io_uring`.
    pub(crate) fn has_uring(&self) -> bool {
        let Ok(files) = fs::read_dir(format!("/proc/{}/fd", self.pid)) else {
            return false;
        };
        files.flatten().any(|file| {
            fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().contains("[io_uring]"))
        })
    }
}

impl Drop for Pop {
    fn drop(&mut self) {
        if let Some(mut child) = self.own.as_mut().and_then(|own| own.child.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
