//! A short form of `make faults`: parts of three regions are killed under load, and the checker of `chorus faults` finds
//! nothing lost, doubled or silently missing. That it finds what is, its own tests say.
#![cfg(target_os = "linux")]

use std::process::Command;

use anyhow::Result;
use chorus_tests::house;

#[test]
fn three_regions_whose_parts_are_killed_lose_double_and_miss_nothing() -> Result<()> {
    let data = house::target()?
        .join("e2e")
        .join(format!("faults-{}", std::process::id()));
    // Times are those of a busy machine: they are not judged.
    let output = Command::new(house::binary("chorus")?)
        .args(["faults", "--quick", "--no-times", "--loopback"])
        .args(["--nodes", "1", "--seed", "1", "--data"])
        .arg(&data)
        .args(["--only", "region-killed", "--only", "pop-killed"])
        .current_dir(house::root()?)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(said.matches("as expected").count(), 2, "{said}");
    Ok(())
}
