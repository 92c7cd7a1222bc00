//! Runs the real `chorus wan`, and threads in its hosts.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::house;

/// Why these tests cannot run here.
#[must_use]
pub fn missing() -> Option<&'static str> {
    if !geteuid().is_root() {
        return Some("not root");
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("no /dev/net/tun");
    }
    let ip = Command::new("ip").args(["netns", "list"]).output();
    if !ip.is_ok_and(|output| output.status.success()) {
        return Some("no `ip netns`");
    }
    None
}

/// A running network; dropping it ends it.
pub struct Wan {
    /// Its name, for `--name`.
    pub name: String,
    /// The path of its file.
    pub file: String,
    /// `chorus wan run`.
    pub process: Child,
}

impl Wan {
    /// Starts one with a file of this text and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(test: &str, text: &str) -> Result<Self> {
        let name = format!("t-{test}-{}", std::process::id());
        let directory = house::target()?.join("e2e");
        fs::create_dir_all(&directory)?;
        let file = directory.join(format!("{name}.toml"));
        fs::write(&file, text)?;
        let mut process = house::supervised(&house::binary("chorus")?)?
            .args(["wan", "run", "--name", &name])
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().context("its output")?;
        let file = file.display().to_string();
        let wan = Self {
            name,
            file,
            process,
        };
        for line in BufReader::new(stdout).lines() {
            if line?.contains("a network of") {
                return Ok(wan);
            }
        }
        anyhow::bail!("it ended before it was ready")
    }

    /// Runs `chorus wan` about this network.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn command(&self, args: &[&str]) -> Result<Output> {
        Ok(Command::new(house::binary("chorus")?)
            .arg("wan")
            .args(args)
            .env("CHORUS_WAN", &self.name)
            .output()?)
    }

    /// The same; it must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn does(&self, args: &[&str]) -> Result<()> {
        let output = self.command(args)?;
        ensure!(output.status.success(), "{args:?}: {output:?}");
        Ok(())
    }

    /// A number of the link from `eu` to `us`, by its key in `stats --json`.
    ///
    /// # Errors
    /// When there is none.
    pub fn count(&self, key: &str) -> Result<u64> {
        let output = self.command(&["stats", "--json"])?;
        let stats: Value = serde_json::from_slice(&output.stdout)?;
        let links = stats["links"].as_array().context("links")?;
        let link = links.iter().find(|link| link["from"] == "eu");
        link.and_then(|link| link[key].as_u64())
            .context(key.to_owned())
    }

    /// Runs `inside` on a thread in a host's namespace: the sockets it makes are the host's.
    ///
    /// # Errors
    /// Those of `inside`, and when there is no such host.
    pub fn within<T: Send + 'static>(
        &self,
        host: &str,
        inside: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.spawn(host, inside)?
            .join()
            .map_err(|_| anyhow::anyhow!("the thread in {host} panicked"))?
    }

    /// The same without waiting for its end.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn spawn<T: Send + 'static>(
        &self,
        host: &str,
        inside: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let path = format!("/run/netns/chorus-wan.{}.{host}", self.name);
        let namespace = fs::File::open(&path).context(path)?;
        Ok(thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            inside()
        }))
    }

    /// Sends the process a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.process.id())?).context("a pid")?;
        Ok(kill_process(pid, signal)?)
    }

    /// The network namespaces that there are of it.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn namespaces(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir("/run/netns")? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.retain(|name| name.starts_with(&format!("chorus-wan.{}.", self.name)));
        Ok(names)
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        // Once waited for, its id may be another's.
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ended = self.signal(Signal::TERM);
            let _ended = self.process.wait();
        }
    }
}
