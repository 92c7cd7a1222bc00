//! How soon a killed PoP is back.

use anyhow::Result;

use super::{Context, Line};
use crate::stack::Wish;
use crate::stats::Spread;

/// Kill, start, `/readyz`.
pub(super) fn to_ready(context: &mut Context) -> Result<Vec<Line>> {
    let mut pop = context.pop(Wish::default())?;
    let mut times = Vec::new();
    for _ in 0..context.rounds().max(3) {
        times.push(pop.restart()?.as_secs_f64() * 1e3);
    }
    let Spread { median, min, max } = Spread::of(&times);
    let line = Line::fact(
        "PoP restart to ready, compiled session logic cached",
        format!("{median:.0} ms ({min:.0}–{max:.0})"),
    );
    Ok(vec![line.target("≤ 300 ms", median <= 300.0).note(
        "from the start of the process to the first `/readyz` that says so, connected to its gateway",
    )])
}
