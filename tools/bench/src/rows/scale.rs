//! Whether the cost of a delivery depends on how many there are.

use std::time::Duration;

use anyhow::Result;

use super::calibrate::half_load;
use super::cast::Cast;
use super::measure::BareSide;
use super::{Context, Line, Met};
use crate::bare::Mode;
use crate::load::Engine;
use crate::plot::{Curve, Plot, Shape};
use crate::stack::Wish;
use crate::stats::Spread;

const COUNTS: [usize; 3] = [1_000, 5_000, 15_000];
/// Both sides' connections at once must fit into this process's files.
const TOGETHER_MAX: usize = 9_000;

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
        let (own, loops) = if *viewers <= TOGETHER_MAX {
            together(context, *viewers)?
        } else {
            apart(context, *viewers)?
        };
        let ratio = Spread::of_ratios(&own, &loops);
        ours.push((*viewers as f64, Spread::of(&own).median));
        bare.push((*viewers as f64, Spread::of(&loops).median));
        let first = *base.get_or_insert(ratio.median);
        let drift = ratio.median / first;
        lines.push(Line {
            what: format!("cost a delivery at {viewers} viewers, batching off"),
            target: "over the bare loop's: flat within 15 %".to_owned(),
            measured: format!("{:.2} µs", Spread::of(&own).median),
            beside: format!("W {:.2} µs", Spread::of(&loops).median),
            ratio: Some(ratio),
            limit: None,
            met: if *viewers == counts[0] {
                Met::Fact
            } else {
                Met::when((0.85..=1.15).contains(&drift) || drift < 1.0)
            },
            notes: vec![format!("{drift:.2} of the ratio at {} viewers", counts[0])],
        });
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

fn unbatched() -> Wish {
    Wish {
        unbatched: true,
        ..Wish::default()
    }
}

fn together(context: &mut Context, viewers: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut engine = Engine::new()?;
    let mut pop = context.pop(unbatched())?;
    let stream = context.streams(1)?.remove(0);
    context.progress(&format!("{viewers} viewers on each side"));
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, viewers)?;
    let mut side = BareSide::start(&mut engine, viewers)?;
    let frame = cast.frame_bytes(&mut engine)?;
    let interval = half_load(&mut side, &mut engine, frame, viewers)?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..context.rounds().min(3) {
        bare.push(
            side.paced(
                &mut engine,
                Mode::Write,
                frame,
                interval,
                0,
                context.during(),
            )?
            .us(),
        );
        ours.push(cast.round(&mut engine, interval, context.during())?.us());
    }
    Ok((ours, bare))
}

/// One after the other, the bare loop before and after.
fn apart(context: &mut Context, viewers: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut pop = context.pop(unbatched())?;
    let stream = context.streams(1)?.remove(0);
    let during: Duration = context.during() * 2;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let (mut frame, mut interval) = (400, Duration::from_millis(150));
    for turn in 0..2 {
        context.progress(&format!(
            "{viewers} viewers, one side after the other, turn {}",
            turn + 1
        ));
        {
            let mut engine = Engine::new()?;
            let mut cast = Cast::join(&mut engine, &mut pop, &stream, viewers)?;
            if turn == 0 {
                let probe = cast.round(
                    &mut engine,
                    Duration::from_millis(200),
                    Duration::from_millis(800),
                )?;
                frame = (probe.counts.comment_bytes / probe.counts.comment_frames.max(1)) as usize;
                interval =
                    Duration::from_nanos((probe.cpu_ns / probe.posts.max(1) as f64 * 2.0) as u64);
            }
            ours.push(cast.round(&mut engine, interval, during)?.us());
        }
        let mut engine = Engine::new()?;
        let mut side = BareSide::start(&mut engine, viewers)?;
        if turn == 0 {
            interval = half_load(&mut side, &mut engine, frame, viewers)?;
        }
        bare.push(
            side.paced(&mut engine, Mode::Write, frame, interval, 0, during)?
                .us(),
        );
    }
    Ok((ours, bare))
}
