//! The data directory of `chorus dev`: its lock, its files, and `--reset`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::child::Child;
use super::site::Site;

/// Marks a directory of `chorus dev`.
const MARKER: &str = "chorus-dev.json";
/// Locked as long as a `chorus dev` uses the directory.
const LOCK: &str = "lock";
/// All other entries that `chorus dev` creates; `--reset` removes exactly these.
const MADE: [&str; 11] = [
    "nats",
    "origin",
    "edge",
    "tls",
    "logs",
    "regions",
    "secret",
    "nats.conf",
    "origin.toml",
    "edge.toml",
    "pids.json",
];
const DIRECTORIES: [&str; 2] = ["tls", "logs"];
/// The directories of a region.
const OF_A_REGION: [&str; 2] = ["origin", "edge"];

/// The data directory, locked by this process.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing, locks it, and clears it if `reset`.
    pub(crate) fn open(path: &Path, reset: bool) -> Result<Self> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path);
        made.with_context(|| format!("cannot create {}", path.display()))?;
        let path =
            fs::canonicalize(path).with_context(|| format!("cannot read {}", path.display()))?;
        if path.to_str().is_none() {
            bail!(
                "{}: a path with bytes that are no UTF-8 cannot stand in a configuration",
                path.display()
            );
        }
        let ours = path.join(MARKER).exists();
        let empty = fs::read_dir(&path)?.next().is_none();
        if !ours && !empty {
            bail!(
                "{} has files that `chorus dev` did not make; choose another directory with --data",
                path.display()
            );
        }
        private_file(&path.join(MARKER), b"{\"version\":1}\n")?;
        let lock = lock(&path)?;
        if reset {
            for name in MADE {
                remove(&path.join(name))?;
            }
        }
        for name in DIRECTORIES {
            private_directory(&path.join(name))?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// Creates the directories of a region.
    pub(crate) fn prepare(&self, site: &Site) -> Result<()> {
        for name in OF_A_REGION {
            private_directory(&self.file(&site.file(name)))?;
        }
        for node in 0..site.ports.nodes.len() {
            private_directory(&self.file(&site.node_file(node, "")))?;
        }
        Ok(())
    }

    /// The directory itself, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file or directory in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The path of a program's log.
    pub(crate) fn log_file(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        private_file(&self.file(name), bytes)
    }

    /// Writes `pids.json` for scripts: process ids and URLs of the programs.
    pub(crate) fn write_pids(&self, children: &[Child]) -> Result<()> {
        let mut pids = serde_json::Map::new();
        pids.insert("chorus".to_owned(), json!(std::process::id()));
        let mut urls = serde_json::Map::new();
        for child in children {
            pids.insert(child.part.key.clone(), json!(child.pid));
            urls.insert(child.part.key.clone(), json!(child.part.ready_url));
        }
        let text = json!({ "pids": pids, "urls": urls });
        // Readers see the old file or the new one, never an incomplete one.
        self.write("pids.json.new", text.to_string().as_bytes())?;
        fs::rename(self.file("pids.json.new"), self.file("pids.json"))
            .context("cannot write pids.json")
    }

    /// Removes `pids.json`, after all programs have ended.
    pub(crate) fn forget_pids(&self) {
        // The file may never have been written.
        let _absent = fs::remove_file(self.file("pids.json"));
    }
}

fn lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path.join(LOCK))
        .with_context(|| format!("cannot open the lock in {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another `chorus dev` runs on {}: stop it, or choose another directory with --data",
            path.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

fn private_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create {}", path.display()))
}

fn private_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(bytes)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_reset_clears_only_what_was_made() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("data");
        let dir = DataDir::open(&path, false).expect("opens");
        dir.write("secret", b"s").expect("writes");
        fs::write(dir.file("notes.txt"), "mine").expect("writes");
        let mode = fs::metadata(dir.file("secret"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);

        let second = DataDir::open(&path, true);
        assert!(second.is_err_and(|error| error.to_string().contains("another `chorus dev`")));
        assert!(
            dir.file("secret").exists(),
            "a refused reset removes nothing"
        );

        drop(dir);
        let dir = DataDir::open(&path, true).expect("opens again");
        assert!(!dir.file("secret").exists());
        assert!(dir.file("notes.txt").exists());
    }

    #[test]
    fn a_directory_of_somebody_else_is_left_alone() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("thesis.tex"), "x").expect("writes");
        assert!(DataDir::open(root.path(), true).is_err());
        assert!(root.path().join("thesis.tex").exists());
    }
}
