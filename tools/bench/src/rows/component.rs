//! The session component beside its native core: measured by two programs that know them.

use std::process::Command;

use anyhow::{Result, bail};

use super::{Context, Line, Met};
use crate::stats::Spread;

/// Prints `native <µs>` and `component <µs>` a line for every round, the same workload through both.
const PROGRAM: &str = "examples/component_bench";

/// A message in batches, every check on.
pub(super) fn beside_native(context: &mut Context) -> Result<Vec<Line>> {
    let program = context.options.bin_dir.join(PROGRAM);
    if !program.is_file() {
        bail!(
            "{PROGRAM} is not built (cargo build --release -p chorus-edge --example component_bench)"
        );
    }
    let output = Command::new(&program)
        .arg(context.rounds().to_string())
        .output()?;
    if !output.status.success() {
        bail!(
            "{PROGRAM}: {}",
            String::from_utf8_lossy(&output.stderr)
                .lines()
                .last()
                .unwrap_or_default()
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let of = |name: &str| -> Vec<f64> {
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(kind, _)| *kind == name)
            .filter_map(|(_, value)| value.trim().parse().ok())
            .collect()
    };
    let (component, native) = (of("component"), of("native"));
    if component.is_empty() || component.len() != native.len() {
        bail!("{PROGRAM} printed no rounds");
    }
    let ratio = Spread::of_ratios(&component, &native);
    let notes = text
        .lines()
        .filter_map(|line| line.strip_prefix("note "))
        .map(str::to_owned)
        .collect();
    Ok(vec![Line {
        what: "session component, every check on, a message in batches".to_owned(),
        target: "≤ 2 × its native core".to_owned(),
        measured: format!("{:.2} µs", Spread::of(&component).median),
        beside: format!("{:.2} µs", Spread::of(&native).median),
        ratio: Some(ratio),
        limit: Some(2.0),
        met: Met::when(ratio.median <= 2.0),
        notes,
    }])
}
