//! The three programs: how each is run and signalled, and the log of one that ended.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::dir::DataDir;
use super::find::House;
use super::site::Site;
use crate::supervised;

/// Bytes at the end of a log that are printed when its program ended by itself.
const LOG_TAIL_BYTES: u64 = 4_096;

/// What a nats-server is called.
pub(crate) const NATS: &str = "nats-server";

/// One of a region's three programs and how to run it.
#[derive(Clone)]
pub(crate) struct Part {
    /// Its name in `pids.json`.
    pub(crate) key: String,
    /// Its name for people.
    pub(crate) name: String,
    program: PathBuf,
    args: Vec<String>,
    /// A command and its arguments that run it.
    under: Vec<String>,
    /// Its network namespace, where it is not this process's.
    netns: Option<PathBuf>,
    /// The URL at which readiness is checked.
    pub(crate) ready_url: String,
    /// The path of the readiness check at its start.
    pub(crate) ready_target: &'static str,
    /// The path of the check while it runs.
    pub(crate) watch_target: &'static str,
    /// Time until it must be ready.
    pub(crate) ready_max: Duration,
    /// Time from SIGTERM to SIGKILL.
    pub(crate) stop_max: Duration,
}

impl Part {
    /// A nats-server, which has the log or a copy of it.
    pub(crate) fn nats(dir: &DataDir, site: &Site, node: usize, program: &Path) -> Self {
        let config = text(&dir.file(&site.node_file(node, ".conf")));
        Self {
            key: site.node_name("nats", node),
            name: site.node_name(NATS, node),
            program: program.to_owned(),
            args: vec!["--config".to_owned(), config],
            under: Vec::new(),
            netns: site.origin_netns().map(Path::to_owned),
            ready_url: format!("http://{}:{}", site.ip, site.ports.nodes[node].http),
            ready_target: "/healthz?js-server-only=true",
            watch_target: "/healthz",
            ready_max: Duration::from_secs(30),
            stop_max: Duration::from_secs(10),
        }
    }

    /// The origin.
    pub(crate) fn origin(dir: &DataDir, site: &Site, house: &House) -> Self {
        Self {
            key: site.name("origin"),
            name: site.name("chorus-origin"),
            program: house.origin.clone(),
            args: ours(&dir.file(&site.file("origin.toml"))),
            under: Vec::new(),
            netns: site.origin_netns().map(Path::to_owned),
            ready_url: format!("http://{}:{}", site.ip, site.ports.admin),
            ready_target: "/readyz",
            watch_target: "/readyz",
            ready_max: Duration::from_secs(60),
            stop_max: Duration::from_secs(10),
        }
    }

    /// The PoP. Its first start compiles the session component.
    pub(crate) fn edge(dir: &DataDir, site: &Site, house: &House) -> Self {
        let reachable = super::howto::reachable(site.listen);
        Self {
            key: site.name("edge"),
            name: site.name("chorus-edge"),
            program: house.edge.clone(),
            args: ours(&dir.file(&site.file("edge.toml"))),
            under: Vec::new(),
            netns: site.pop_netns().map(Path::to_owned),
            ready_url: format!("http://{reachable}"),
            ready_target: "/readyz",
            watch_target: "/readyz",
            ready_max: Duration::from_secs(120),
            stop_max: Duration::from_secs(10),
        }
    }
}

/// Has programs run under others: `KEY=COMMAND` each.
pub(crate) fn put_under<'a>(
    parts: impl Iterator<Item = &'a mut Part>,
    asked: &[String],
) -> Result<()> {
    let mut commands = Vec::new();
    for text in asked {
        let (key, command) = text
            .split_once('=')
            .with_context(|| format!("--under {text}: must be KEY=COMMAND"))?;
        commands.push((key, command));
    }
    let mut keys = Vec::new();
    for part in parts {
        if let Some((_, command)) = commands.iter().find(|(key, _)| *key == part.key) {
            part.under = command.split_whitespace().map(str::to_owned).collect();
        }
        keys.push(part.key.clone());
    }
    match commands
        .iter()
        .find(|(key, _)| !keys.iter().any(|it| it == key))
    {
        Some((key, _)) => bail!("--under {key}: the programs are {}", keys.join(", ")),
        None => Ok(()),
    }
}

fn ours(config: &Path) -> Vec<String> {
    let args = [
        "--config",
        &text(config),
        "--exit-with-parent",
        "--log",
        "text",
    ];
    args.map(str::to_owned).to_vec()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A started program.
pub(crate) struct Child {
    /// The program.
    pub(crate) part: Part,
    /// Its process id.
    pub(crate) pid: u32,
    process: tokio::process::Child,
    log: Option<PathBuf>,
    /// Its end was told by [`any_exit`].
    told: bool,
}

impl Child {
    /// Starts a program, which ends with the calling thread.
    pub(crate) fn spawn(part: Part, dir: &DataDir, verbose: bool) -> Result<Self> {
        let program = part.program.as_os_str();
        let mut words = part.under.iter().map(OsStr::new).chain([program]);
        let first = words.next().unwrap_or(program);
        let mut command = supervised::command(Path::new(first), part.netns.as_deref())?;
        command
            .args(words)
            .args(&part.args)
            .stdin(Stdio::null())
            // A terminal's Ctrl-C signals the whole process group. The children have their own, because we stop them in
            // order.
            .process_group(0);
        let log = if verbose {
            None
        } else {
            let path = dir.log_file(&part.name);
            let file = keep_old(&path)?;
            let same = file.try_clone().context("cannot open a log")?;
            command.stdout(file).stderr(same);
            Some(path)
        };
        let process = tokio::process::Command::from(command)
            .spawn()
            .with_context(|| format!("cannot start {}", part.name))?;
        let pid = process.id().context("a program without a process id")?;
        Ok(Self {
            part,
            pid,
            process,
            log,
            told: false,
        })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.process
            .try_wait()
            .ok()
            .flatten()
            .map(|status| describe(&status))
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self) -> String {
        match self.process.wait().await {
            Ok(status) => describe(&status),
            Err(error) => error.to_string(),
        }
    }

    /// Sends a signal, unless it has ended and been waited for.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.ended().is_some() {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // It may end at this moment, which is no error.
            let _gone = kill_process(pid, signal);
        }
    }

    /// The end of its log, for an error message.
    pub(crate) fn log_tail(&self) -> String {
        let Some(path) = &self.log else {
            return String::new();
        };
        let tail = tail(path, LOG_TAIL_BYTES).unwrap_or_default();
        format!("the end of {}:\n{tail}", path.display())
    }
}

/// Waits for the first of them to end; each end is told once.
pub(crate) async fn any_exit(children: &mut [Child]) -> (usize, String) {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        for (index, child) in children.iter_mut().enumerate() {
            if !child.told
                && let Some(how) = child.ended()
            {
                child.told = true;
                return (index, how);
            }
        }
        tick.tick().await;
    }
}

fn describe(status: &ExitStatus) -> String {
    status.to_string()
}

/// Creates an empty log; the one before is renamed to `.log.old`.
fn keep_old(path: &Path) -> Result<File> {
    if path.exists() {
        std::fs::rename(path, path.with_extension("log.old"))
            .with_context(|| format!("cannot put {} aside", path.display()))?;
    }
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

fn tail(path: &Path, bytes: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut read = Vec::new();
    file.read_to_end(&mut read)?;
    Ok(String::from_utf8_lossy(&read).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_kept_once_and_its_end_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.log");
        std::fs::write(&path, "first").expect("writes");
        drop(keep_old(&path).expect("a fresh log"));
        std::fs::write(&path, "0123456789").expect("writes");
        assert_eq!(tail(&path, 4).ok().as_deref(), Some("6789"));
        assert_eq!(
            std::fs::read_to_string(dir.path().join("x.log.old"))
                .ok()
                .as_deref(),
            Some("first")
        );
    }
}
