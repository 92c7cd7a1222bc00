//! Whether the cost of a delivery depends on how many there are.

use anyhow::Result;

use super::measure::{BareSide, Series};
use super::{Context, Line};
use crate::bare::Mode;
use crate::stack::Wish;

const COUNTS: [usize; 3] = [1_000, 5_000, 15_000];
/// What "flat" may differ by.
const DRIFT_MAX: f64 = 1.15;

/// Cost a delivery at 1,000, 5,000 and 15,000 viewers over the bare loop's at the same count.
pub(super) fn flat(context: &mut Context) -> Result<Vec<Line>> {
    let mut lines: Vec<Line> = Vec::new();
    let mut base = None;
    for viewers in COUNTS {
        let [bare, ours] = sides(context, viewers)?;
        let ratio = ours.over(&bare).median;
        let drift = ratio / *base.get_or_insert(ratio);
        let what = format!("cost a delivery at {viewers} viewers, batching off");
        let mut line = Line::cpu(what, &ours, 2).over(&ours, "W ", &bare, 2);
        let target = "over the bare loop's: flat within 15 %";
        if viewers == COUNTS[0] {
            line.target = target.to_owned();
            line = line.note("what the others are compared with");
        } else {
            // To get cheaper is no failure.
            line = line.target(target, drift <= DRIFT_MAX).note(format!(
                "{drift:.2} of the ratio at {} viewers; at most {DRIFT_MAX} is flat, and less counts as reached however \
                 little",
                COUNTS[0]
            ));
        }
        lines.push(line);
    }
    Ok(lines)
}

/// The bare loop and the PoP in turn. The bare loop's viewers are in a second load process: 15,000 of each side are
/// more than the files of one.
fn sides(context: &mut Context, viewers: usize) -> Result<[Series; 2]> {
    let mut engine = context.engine()?;
    context.progress(&format!("{viewers} viewers on each side"));
    let wish = Wish {
        unbatched: true,
        tls: false,
    };
    let (_pop, mut cast, _) = context.cast(&mut engine, wish, viewers)?;
    let mut side = BareSide::start_apart(&mut engine, viewers)?;
    let frame = cast.frame_bytes(&mut engine)?;
    let interval = side.half_load(&mut engine, frame, viewers)?;
    let rounds = context.rounds().min(3);
    context.interleave(&format!("{viewers} viewers"), rounds, |during| {
        let bare = side.paced(&mut engine, Mode::Write, frame, interval, 0, during)?;
        Ok([bare, cast.round(&mut engine, interval, during)?])
    })
}
