//! Compiled logic on disk, so that a restart of the process does not compile again.
//!
//! Compiled code is trusted. An entry is used only if its directory and file belong to this user, nobody else can write
//! them, and its digest matches; any other entry is compiled again and overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

const DIGEST_BYTES: usize = 32;
/// Bytes of an entry; a larger one is not used.
const ENTRY_BYTES_MAX: u64 = 256 << 20;
const OTHERS_MAY_WRITE: u32 = 0o022;

/// The path of one entry.
pub(super) struct Entry {
    dir: PathBuf,
    name: String,
}

impl Entry {
    /// The entry of a component with this digest, compiled with the settings of this fingerprint.
    pub(super) fn new(dir: &Path, digest: &str, fingerprint: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            name: format!("{digest}-{fingerprint:016x}.compiled"),
        }
    }

    /// Reads the compiled code; `None` when there is no entry.
    ///
    /// # Errors
    /// When the entry is not to be trusted or is incomplete.
    pub(super) fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::symlink_metadata(&self.dir) {
            Ok(metadata) => check_owner(&metadata, metadata.is_dir())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(self.dir.join(&self.name));
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        check_owner(&metadata, metadata.is_file())?;
        if metadata.len() > ENTRY_BYTES_MAX {
            return Err(io::Error::other("too large to be a compiled component"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        match bytes.split_first_chunk::<DIGEST_BYTES>() {
            Some((digest, code)) if Sha256::digest(code)[..] == digest[..] => {
                bytes.drain(..DIGEST_BYTES);
                Ok(Some(bytes))
            }
            _ => Err(io::Error::other("not whole")),
        }
    }

    /// Writes the entry in one step: a reader sees the old one, the new one or none.
    pub(super) fn write(&self, code: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let metadata = fs::symlink_metadata(&self.dir)?;
        check_owner(&metadata, metadata.is_dir())?;
        let temporary = self
            .dir
            .join(format!(".{}.{}", self.name, std::process::id()));
        let written = write_new(&temporary, code)
            .and_then(|()| fs::rename(&temporary, self.dir.join(&self.name)));
        if written.is_err() {
            // A temporary file that cannot be removed is overwritten by the next write.
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

fn write_new(path: &Path, code: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&Sha256::digest(code))?;
    file.write_all(code)?;
    file.sync_data()
}

fn check_owner(metadata: &fs::Metadata, right_kind: bool) -> io::Result<()> {
    if !right_kind {
        return Err(io::Error::other("not a plain directory and file"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("belongs to another user"));
    }
    if metadata.mode() & OTHERS_MAY_WRITE != 0 {
        return Err(io::Error::other("others may write it"));
    }
    Ok(())
}
