//! The session component beside its native core: measured by a program that knows both.

use std::process::Command;

use anyhow::{Result, bail};

use super::{Context, Line};
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
    let mut command = Command::new("timeout");
    command.arg(context.left().as_secs().to_string());
    command.arg(&program).arg(context.rounds().to_string());
    // Without it the program looks where cargo builds components by default.
    let component = context.options.bin_dir.join("../components/session.wasm");
    if component.is_file() {
        command.arg(component);
    }
    let output = command.output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().unwrap_or_default();
        bail!("{PROGRAM} ended ({}): {last}", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let of = |name: &str| -> Vec<f64> {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let values = lines.filter(|(kind, _)| *kind == name);
        values
            .filter_map(|(_, value)| value.trim().parse().ok())
            .collect()
    };
    let (component, native) = (of("component"), of("native"));
    if component.is_empty() || component.len() != native.len() {
        bail!("{PROGRAM} printed no rounds");
    }
    let us = |values: &[f64]| format!("{:.2} µs", Spread::of(values).median);
    let mut line = Line::fact(
        "session component, every check on, a message in batches",
        us(&component),
    )
    .beside(us(&native), Some(Spread::of_ratios(&component, &native)))
    .limit("≤ 2.5 × its native core", 2.5);
    line.figures = Some([Spread::of(&component).median, 0.0]);
    let notes = text.lines().filter_map(|line| line.strip_prefix("note "));
    line.notes.extend(notes.map(str::to_owned));
    Ok(vec![line])
}
