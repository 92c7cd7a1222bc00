//! The WebSocket of a PoP against an implementation that is not ours: the package `websockets` of Python, with the cases
//! of `tests/conformance`.

use std::process::Command;

use anyhow::{Context, Result};
use chorus_tests::dev::Dev;
use chorus_tests::house;

#[test]
fn a_pop_speaks_websocket_with_another_implementation() -> Result<()> {
    let dev = Dev::shared();
    let root = house::root()?;
    let output = Command::new("python3")
        .arg(root.join("tests/conformance/websocket.py"))
        .arg(dev.listen().to_string())
        .env("PYTHONPATH", root.join(".venv/websockets"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .context("cannot run python3")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{said}{complained}\nwithout the package: make install puts it into .venv/websockets"
    );
    println!("{said}");
    Ok(())
}
