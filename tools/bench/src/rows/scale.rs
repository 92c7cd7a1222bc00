//! Whether the cost of a delivery depends on how many there are.

use anyhow::Result;

use super::calibrate::half_load;
use super::cast::Cast;
use super::measure::{BareSide, Measured, Pressure};
use super::{Context, Line, Met};
use crate::bare::Mode;
use crate::plot::{Curve, Plot, Shape};
use crate::stack::Wish;
use crate::stats::Spread;

const COUNTS: [usize; 3] = [1_000, 5_000, 15_000];
/// What "flat" may differ by.
const DRIFT_MAX: f64 = 1.15;

/// Cost a delivery at 1,000, 5,000 and 15,000 viewers over the bare loop's at the same count.
pub(super) fn flat(context: &mut Context) -> Result<Vec<Line>> {
    let mut lines: Vec<Line> = Vec::new();
    let (mut ours, mut bare, mut base) = (Vec::new(), Vec::new(), None);
    let counts: &[usize] = if context.is_quick() {
        &COUNTS[..2]
    } else {
        &COUNTS
    };
    for viewers in counts {
        let (own, loops, pressure) = sides(context, *viewers)?;
        let ratio = Spread::of_ratios(&own, &loops);
        ours.push((*viewers as f64, Spread::of(&own).median));
        bare.push((*viewers as f64, Spread::of(&loops).median));
        let first = *base.get_or_insert(ratio.median);
        let drift = ratio.median / first;
        let mut line = Line::fact(
            format!("cost a delivery at {viewers} viewers, batching off"),
            format!("{:.2} µs", Spread::of(&own).median),
        );
        line.target = "over the bare loop's: flat within 15 %".to_owned();
        line.beside = format!("W {:.2} µs", Spread::of(&loops).median);
        line.ratio = Some(ratio);
        if *viewers == counts[0] {
            line = line.note("what the others are compared with");
        } else {
            // To get cheaper is no failure.
            line.met = Met::when(drift <= DRIFT_MAX);
            line = line.note(format!(
                "{drift:.2} of the ratio at {} viewers; at most {DRIFT_MAX} is flat, and less counts as reached however \
                 little",
                counts[0]
            ));
        }
        lines.push(line.note(pressure.words("in the PoP's last round")));
    }
    context.plots.push(Plot {
        file: "scale".to_owned(),
        title: "CPU a delivery by viewers, batching off".to_owned(),
        axes: ("viewers".to_owned(), "µs a delivery".to_owned()),
        shape: Shape::Lines {
            curves: vec![
                Curve {
                    name: "Chorus".to_owned(),
                    points: ours,
                },
                Curve {
                    name: "bare write loop".to_owned(),
                    points: bare,
                },
            ],
            log_x: true,
        },
    });
    Ok(lines)
}

/// Microseconds a delivery of the PoP and of the bare loop, round by round. The bare loop's viewers are in a second load
/// process: 15,000 of each side are more than the files of one.
fn sides(context: &mut Context, viewers: usize) -> Result<(Vec<f64>, Vec<f64>, Pressure)> {
    let mut engine = context.engine()?;
    let mut pop = context.pop(Wish {
        unbatched: true,
        ..Wish::default()
    })?;
    let stream = context.streams(1)?.remove(0);
    context.progress(&format!("{viewers} viewers on each side"));
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, viewers)?;
    let mut side = BareSide::start_apart(&mut engine, viewers)?;
    let frame = cast.frame_bytes(&mut engine)?;
    let interval = half_load(&mut side, &mut engine, frame, viewers)?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let mut last = Measured::default();
    let mut round = 0;
    let what = format!("{viewers} viewers");
    let rounds = if context.is_quick() {
        1
    } else {
        context.rounds().min(3)
    };
    while context.another_of(&what, round, rounds) {
        round += 1;
        let during = context.during();
        let paced = side.paced(&mut engine, Mode::Write, frame, interval, 0, during)?;
        bare.push(paced.us());
        last = cast.round(&mut engine, interval, during)?;
        ours.push(last.us());
    }
    Ok((ours, bare, last.pressure))
}
