//! Carries out a fault, and ends it.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::rows::{Fault, Signalled};
use crate::rig::{REGIONS, Rig, Wan};

/// Size of a node's disk that can be filled.
const DISK_MIB: u32 = 64;
/// Where Debian's `faketime` has its library.
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];
/// Holds the write lock of the database in its argument until its input ends.
const LOCK: &str = "import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
db.execute('BEGIN EXCLUSIVE')
print('locked', flush=True)
sys.stdin.read()
db.execute('ROLLBACK')";

/// The library that makes a program's clock another.
pub(crate) fn faketime() -> Option<&'static str> {
    FAKETIME.into_iter().find(|path| Path::new(path).exists())
}

/// The things that faults are done to.
pub(crate) struct Stage {
    pub(crate) data: PathBuf,
    pub(crate) wan: Option<Wan>,
    pub(crate) disk: Option<Disk>,
    pub(crate) clock: Option<PathBuf>,
}

/// A fault that goes on.
pub(crate) struct Going {
    frozen: Option<String>,
    cut: bool,
    full: bool,
    clock: bool,
    lock: Option<Child>,
    /// What was done, for people.
    pub(crate) what: String,
}

impl Stage {
    /// Begins a fault in the first region.
    ///
    /// # Errors
    /// When it cannot be done.
    pub(crate) async fn begin(&self, rig: &Rig, fault: Fault) -> Result<Going> {
        let region = REGIONS[0];
        let mut going = Going {
            frozen: None,
            cut: false,
            full: false,
            clock: false,
            lock: None,
            what: String::new(),
        };
        match fault {
            Fault::Nothing => "nothing".clone_into(&mut going.what),
            Fault::Leader(how) => {
                let key = rig.leader(region).await?;
                signal(rig, &key, how, &mut going)?;
            }
            Fault::Program(program, how) => {
                let key = rig.key(program, region, None);
                signal(rig, &key, how, &mut going)?;
            }
            Fault::Region => {
                let keys = rig.keys(region);
                for key in &keys {
                    rig.signal(key, Signal::KILL)?;
                }
                going.what = format!("killed {}", keys.join(", "));
            }
            Fault::Cut(links) => {
                let wan = self.wan.as_ref().context("no network")?;
                for (from, to, one_way) in links {
                    wan.cut(from, to, *one_way)?;
                }
                let words = links.iter().map(|(from, to, one_way)| {
                    format!("{from} {} {to}", if *one_way { "→" } else { "↔" })
                });
                going.cut = true;
                going.what = format!("cut {}", words.collect::<Vec<_>>().join(", "));
            }
            Fault::Full => {
                let disk = self.disk.as_ref().context("no disk that can be filled")?;
                going.what = format!("filled {} bytes", disk.fill()?);
                going.full = true;
            }
            Fault::Clock(seconds) => {
                self.set_clock(seconds)?;
                going.clock = true;
                going.what = format!("the clock of the PoP of {} by {seconds:+} s", REGIONS[1]);
            }
            Fault::Store => {
                let store = format!("regions/{region}/origin/chorus.db");
                going.lock = Some(lock(&self.data.join(&store))?);
                going.what = format!("locked {store}");
            }
        }
        Ok(going)
    }

    /// Ends a fault; what was killed comes back by itself.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub(crate) fn end(&self, rig: &Rig, going: Going) -> Result<()> {
        if let Some(key) = going.frozen {
            rig.signal(&key, Signal::CONT)?;
        }
        if let (true, Some(wan)) = (going.cut, &self.wan) {
            wan.heal()?;
        }
        if let (true, Some(disk)) = (going.full, &self.disk) {
            disk.free()?;
        }
        if going.clock {
            self.set_clock(0)?;
        }
        if let Some(mut lock) = going.lock {
            // Its input ends, so it ends.
            drop(lock.stdin.take());
            lock.wait().context("cannot unlock the store")?;
        }
        Ok(())
    }

    /// The library reads the file once in a second.
    pub(crate) fn set_clock(&self, seconds: i32) -> Result<()> {
        let path = self.clock.as_ref().context("no clock that can be set")?;
        fs::write(path, format!("{seconds:+}\n")).context("cannot set the clock")
    }
}

fn signal(rig: &Rig, key: &str, how: Signalled, going: &mut Going) -> Result<()> {
    let (signal, word) = match how {
        Signalled::Killed => (Signal::KILL, "killed"),
        Signalled::Frozen => (Signal::STOP, "froze"),
        Signalled::Stopped => (Signal::TERM, "stopped"),
    };
    rig.signal(key, signal)?;
    if how == Signalled::Frozen {
        going.frozen = Some(key.to_owned());
    }
    going.what = format!("{word} {key}");
    Ok(())
}

fn lock(store: &Path) -> Result<Child> {
    use std::io::Read as _;
    let mut child = Command::new("python3")
        .args(["-c", LOCK])
        .arg(store)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run python3")?;
    let mut word = [0; b"locked\n".len()];
    let output = child.stdout.as_mut().context("its output")?;
    output
        .read_exact(&mut word)
        .with_context(|| format!("cannot lock {}", store.display()))?;
    Ok(child)
}

/// A tmpfs as a node's disk; dropping it unmounts it.
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one.
    ///
    /// # Errors
    /// When that is not permitted.
    pub(crate) fn mount(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).context("cannot make the mount point")?;
        let size = format!("size={DISK_MIB}m,mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path);
        run(&mut mount)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    fn fill(&self) -> Result<usize> {
        let mut file = fs::File::create(self.path.join("filler"))?;
        let mut bytes = vec![0; 1 << 20];
        let mut filled = 0;
        // Large pieces first, then smaller ones that still fit.
        while !bytes.is_empty() {
            match file.write(&bytes) {
                Ok(written) => filled += written,
                Err(error) if error.kind() == ErrorKind::StorageFull => {
                    bytes.truncate(bytes.len() / 2);
                }
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
        Ok(filled)
    }

    fn free(&self) -> Result<()> {
        fs::remove_file(self.path.join("filler")).context("cannot remove the filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, because a process may still have an open file on it.
        let _left = run(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("cannot run it")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
