//! A tmpfs that a test can fill.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A mounted tmpfs; dropping it unmounts it.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Creates a directory and mounts a tmpfs of `mib` MiB there.
    ///
    /// # Errors
    /// When mounting is not permitted: it needs root, and in a container the capability to mount.
    pub fn mount(path: &Path, mib: u32) -> Result<Self> {
        fs::create_dir_all(path).context("cannot make the mount point")?;
        let size = format!("size={mib}m,mode=0700");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path))
        .context("the tests of full disks need the right to mount a tmpfs")?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The mount point.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes until the disk is full; returns the number of bytes written.
    ///
    /// # Errors
    /// When a write fails for another reason.
    pub fn fill(&self) -> Result<usize> {
        let mut file = fs::File::create(self.filler()).context("cannot make the filler")?;
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

    /// Frees the space that [`Disk::fill`] used.
    ///
    /// # Errors
    /// When the file was not written or cannot be removed.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("cannot remove the filler")
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, because processes may still have open files on it.
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(&self.path)) {
            eprintln!("{}: {error:#}", self.path.display());
        }
        // Removes the mount point; the directory above it is kept when the test failed.
        let _kept = fs::remove_dir(&self.path);
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("cannot run it")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
