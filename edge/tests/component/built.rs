//! The components under test: the real ones, built by `cargo xtask component`, and small ones made from text.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use chorus_edge::component::{Bounds, Logic};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

/// The shipped component.
pub(crate) fn session() -> PathBuf {
    build("session.wasm", &[])
}

/// The build of the session component that traps on command.
pub(crate) fn session_fault() -> PathBuf {
    build("session-fault.wasm", &["--fault"])
}

pub(crate) fn logic(path: &Path) -> Arc<Logic> {
    Logic::load(path, Some(&cache()), &Bounds::default()).expect("the real component loads")
}

/// One cache for all tests, because compiling takes longest.
fn cache() -> PathBuf {
    target().join("components").join("compiled")
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn build(name: &str, flags: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let path = target().join("components").join(name);
    let built = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
    let sources = ["components/session", "protocol/src", "wit"];
    let newest = sources.iter().map(|dir| newest(&root().join(dir))).max();
    if built.is_ok_and(|built| newest.is_some_and(|newest| newest <= built)) {
        return path;
    }
    let status = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["xtask", "component"])
        .args(flags)
        .status()
        .expect("cargo starts");
    assert!(
        status.success() && path.exists(),
        "`cargo xtask component {}` did not make {}",
        flags.join(" "),
        path.display()
    );
    path
}

fn newest(path: &Path) -> SystemTime {
    let metadata = std::fs::metadata(path).expect("a source");
    if !metadata.is_dir() {
        return metadata.modified().expect("a time");
    }
    std::fs::read_dir(path)
        .expect("a directory")
        .map(|entry| newest(&entry.expect("an entry").path()))
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
