//! How soon a killed PoP is back.

use anyhow::Result;

use super::{Context, Line, Met};
use crate::stack::Wish;
use crate::stats::Spread;

/// Kill, start, `/readyz`.
pub(super) fn to_ready(context: &mut Context) -> Result<Vec<Line>> {
    let mut pop = context.pop(Wish::default())?;
    let mut times = Vec::new();
    for _ in 0..context.rounds().max(3) {
        times.push(pop.restart()?.as_secs_f64() * 1e3);
    }
    let spread = Spread::of(&times);
    let mut line = Line::fact(
        "PoP restart to ready, compiled session logic cached",
        format!(
            "{:.0} ms ({:.0}–{:.0})",
            spread.median, spread.min, spread.max
        ),
    );
    line.target = "≤ 300 ms".to_owned();
    line.met = Met::when(spread.median <= 300.0);
    Ok(vec![line.note(
        "from the start of the process to the first `/readyz` that says so, connected to its gateway",
    )])
}
