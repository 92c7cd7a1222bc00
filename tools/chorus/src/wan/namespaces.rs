//! Network namespaces of a run: made, found by name, removed; and those of runs that were killed.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chorus_telemetry::{complain, say};

use super::device;

/// Before the run's and the host's name, which hold no dot: no other namespace is touched.
const PREFIX: &str = "chorus-wan.";
/// Where `ip netns` keeps names.
const NAMES: &str = "/run/netns";
/// A directory for each run, with its lock and its control socket.
const RUNS: &str = "/run/chorus-wan";
/// Packets that a host may send before the forwarder reads them: more than a TCP window at once.
const DEVICE_QUEUE_PACKETS: u32 = 5_000;
/// Ethernet's.
const MTU: u32 = 1_500;
/// A lock may be held for a moment by one who looks for leftovers.
const LOCK_TRIES: u32 = 20;
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// A run's name and place, held by a lock that the kernel gives back when the process ends in whatever way.
pub(crate) struct Run {
    name: String,
    _lock: File,
}

impl Run {
    /// Takes the name and removes what killed runs left.
    ///
    /// # Errors
    /// When a run of that name is alive.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let mut lock = None;
        for _ in 0..LOCK_TRIES {
            lock = try_lock(name)?;
            if lock.is_some() {
                break;
            }
            std::thread::sleep(LOCK_WAIT);
        }
        let Some(lock) = lock else {
            bail!("a network named {name} is running already; `--name` gives this one another");
        };
        remove_namespaces(name, true);
        for other in names()?.into_iter().map(|(run, _)| run) {
            if other != name
                && let Some(_lock) = try_lock(&other)?
            {
                remove_namespaces(&other, true);
                remove_directory(&other);
            }
        }
        Ok(Self {
            name: name.to_owned(),
            _lock: lock,
        })
    }

    /// Makes a host's namespace.
    pub(crate) fn add(&self, host: &str) -> Result<PathBuf> {
        let namespace = namespace(&self.name, host);
        ip(&["netns", "add", &namespace], "")?;
        Ok(Path::new(NAMES).join(namespace))
    }

    /// Gives the host's device its address and routes everything over it.
    pub(crate) fn set_up(&self, host: &str, address: Ipv4Addr) -> Result<()> {
        let name = device::NAME;
        let batch = format!(
            "link set lo up\n\
             link set {name} addrgenmode none mtu {MTU} txqueuelen {DEVICE_QUEUE_PACKETS}\n\
             addr add {address}/32 dev {name}\n\
             link set {name} up\n\
             route add default dev {name} src {address}\n"
        );
        ip(&["-n", &namespace(&self.name, host), "-batch", "-"], &batch)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        remove_namespaces(&self.name, false);
        remove_directory(&self.name);
    }
}

/// Where a run's control socket is.
pub(crate) fn socket(run: &str) -> PathBuf {
    Path::new(RUNS).join(run).join("control.sock")
}

/// The path of a host's namespace.
///
/// # Errors
/// When there is no such host; the hosts are named.
pub(crate) fn find(run: &str, host: &str) -> Result<PathBuf> {
    let path = Path::new(NAMES).join(namespace(run, host));
    if !path.exists() {
        let hosts = names()?.into_iter().filter(|(other, _)| other == run);
        let hosts: Vec<String> = hosts.map(|(_, host)| host).collect();
        bail!(
            "{run} has no host {host}; it has: {}",
            if hosts.is_empty() {
                "none".to_owned()
            } else {
                hosts.join(", ")
            }
        );
    }
    Ok(path)
}

/// The run that is meant when none is named: the only one.
pub(crate) fn only_run() -> Result<String> {
    let mut runs = Vec::new();
    if let Ok(entries) = fs::read_dir(RUNS) {
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if socket(&name).exists() && try_lock(&name)?.is_none() {
                runs.push(name);
            }
        }
    }
    match runs.as_slice() {
        [only] => Ok(only.clone()),
        [] => bail!("no network is running: `chorus wan run FILE` starts one"),
        several => bail!(
            "several networks are running, say which with `--name`: {}",
            several.join(", ")
        ),
    }
}

fn namespace(run: &str, host: &str) -> String {
    format!("{PREFIX}{run}.{host}")
}

/// Run and host of every namespace of ours.
fn names() -> Result<Vec<(String, String)>> {
    let Ok(entries) = fs::read_dir(NAMES) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.context("cannot list namespaces")?.file_name();
        let ours = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if let Some((run, host)) = ours.and_then(|name| name.split_once('.')) {
            names.push((run.to_owned(), host.to_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// The lock of a run of that name; `None` while it is alive.
fn try_lock(run: &str) -> Result<Option<File>> {
    let directory = Path::new(RUNS).join(run);
    let path = directory.join("lock");
    loop {
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let lock = match File::create(&path) {
            Ok(lock) => lock,
            // Its directory was removed in between.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).context(format!("cannot make {}", path.display())),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock"),
        }
        // Who held it before may have removed the file while this one waited to open it.
        let still_there = fs::metadata(&path).is_ok_and(|found| {
            lock.metadata()
                .is_ok_and(|locked| locked.ino() == found.ino())
        });
        if still_there {
            return Ok(Some(lock));
        }
    }
}

fn remove_namespaces(run: &str, left_over: bool) {
    for (_, host) in names()
        .unwrap_or_default()
        .iter()
        .filter(|(name, _)| name == run)
    {
        match ip(&["netns", "del", &namespace(run, host)], "") {
            Ok(()) if left_over => say!(
                "removed {}, left by a run that was killed",
                namespace(run, host)
            ),
            Ok(()) => {}
            Err(error) => complain!("chorus: {error:#}"),
        }
    }
}

fn remove_directory(run: &str) {
    // Gone is as good.
    let _gone = fs::remove_dir_all(Path::new(RUNS).join(run));
}

/// Runs `ip`, with its batch on standard input.
fn ip(args: &[&str], batch: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `ip` (of iproute2)")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(batch.as_bytes())
            .context("cannot tell `ip`")?;
    }
    let output = child.wait_with_output().context("cannot wait for `ip`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}", args.join(" "), said.trim());
    }
    Ok(())
}
