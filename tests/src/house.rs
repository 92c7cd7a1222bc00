//! Paths of the repository and its binaries.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The root of the repository.
///
/// # Errors
/// Never, because this crate is in the repository.
pub fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no directory above")?;
    Ok(root.to_owned())
}

/// Cargo's target directory, which has this test's binary.
///
/// # Errors
/// When the binary is not where Cargo puts it.
pub fn target() -> Result<PathBuf> {
    let profile = profile_directory()?;
    Ok(profile.parent().context("no target directory")?.to_owned())
}

/// A binary of the workspace, built with this test's profile.
///
/// # Errors
/// When it is not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = profile_directory()?.join(name);
    if !path.is_file() {
        bail!("{} is not there: `make build` builds it", path.display());
    }
    Ok(path)
}

/// A command that runs a program which ends with the calling thread, also when the test is killed.
///
/// # Errors
/// When `chorus` is not built.
pub fn supervised(program: &Path) -> Result<Command> {
    let mut command = Command::new(binary("chorus")?);
    command
        .arg("supervised")
        .arg(format!("--parent={}", std::process::id()))
        .arg("--")
        .arg(program);
    Ok(command)
}

/// `target/<profile>`, from `target/<profile>/deps/<test>`.
fn profile_directory() -> Result<PathBuf> {
    let test = std::env::current_exe().context("cannot tell where this test is")?;
    let directory = test
        .ancestors()
        .nth(2)
        .context("a test outside of a target directory")?;
    Ok(directory.to_owned())
}
