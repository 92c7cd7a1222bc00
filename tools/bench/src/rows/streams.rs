//! Many small streams at once, posts through the same PoP.

use std::time::Duration;

use anyhow::Result;

use super::calibrate::half_load;
use super::cast::{Authors, TEXT_BYTES, check};
use super::measure::{BareSide, Measured, Round};
use super::{Context, Line};
use crate::bare::Mode;
use crate::stack::Wish;
use crate::stack::speech::{self, Encoding};
use crate::stats::Spread;

const STREAMS: usize = 1_000;
const VIEWERS_EACH: usize = 10;
/// A turn of a busy shard.
const TURN: Duration = Duration::from_millis(16);

/// 1,000 streams × 10 viewers × 1 comment/s: one viewer of each stream posts.
pub(super) fn many(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let mut pop = context.pop(Wish::default())?;
    let names = context.streams(STREAMS)?;
    context.progress("1,000 streams: tokens and 10,000 connections");
    let mut authors = Authors::join(&mut engine, &mut pop, names.clone())?;
    let of = Box::new(move |number: usize| names[number % STREAMS].clone());
    let viewers = engine.group(speech::viewers(&pop, of, Encoding::Json, false));
    engine.connect(viewers, STREAMS * (VIEWERS_EACH - 1))?;
    let mut side = BareSide::start(&mut engine, 1_000)?;
    context.progress("1,000 streams: 10,000 connections of a bare loop");
    let mut many = BareSide::start_apart(&mut engine, STREAMS * VIEWERS_EACH)?;

    let interval = Duration::from_secs(1) / STREAMS as u32;
    let (mut ours, mut w, mut same_shape) = (Vec::new(), Vec::new(), Vec::new());
    let mut frame = 0;
    let mut pace = None;
    let mut last = Measured::default();
    let mut round = 0;
    while context.another("1,000 streams", round) {
        round += 1;
        let during = context.during();
        let posts = Round {
            groups: &[viewers, authors.group],
            pids: &[pop.pid],
            others: &[],
            text_bytes: TEXT_BYTES,
            interval,
            during,
            audience: VIEWERS_EACH,
        };
        last = posts.run(&mut engine, &mut |engine, text| authors.post(engine, &text))?;
        check(&last)?;
        ours.push(last.us());
        frame = (last.counts.comment_bytes / last.counts.comment_frames.max(1)) as usize;
        let pace = match pace {
            Some(pace) => pace,
            None => *pace.insert(half_load(&mut side, &mut engine, frame, 1_000)?),
        };
        let paced = side.paced(&mut engine, Mode::Write, frame, pace, 0, during)?;
        w.push(paced.us());
        // What the PoP does at this rate: it gathers for a turn, and writes with one submit.
        let per_turn = STREAMS as u64 * TURN.as_millis() as u64 / 1_000;
        let paced = many.paced(
            &mut engine,
            Mode::Uring,
            frame,
            TURN,
            VIEWERS_EACH * per_turn as usize,
            during,
        )?;
        same_shape.push(paced.us());
    }
    let us = |values: &[f64]| format!("{:.2} µs", Spread::of(values).median);
    let mut line = Line::ratio(
        (
            "1,000 streams × 10 viewers",
            "1,000 streams × 10 viewers × 1 comment/s, posts through the same PoP: CPU of the PoP a delivery",
        ),
        "≤ 1.6 W",
        (us(&ours), format!("W {}", us(&w))),
        Spread::of_ratios(&ours, &w),
        1.6,
    )
    .note(format!(
        "frames of {frame} bytes; {:.1} posts a second",
        last.posts as f64 / last.took.as_secs_f64()
    ))
    .note(last.pressure.words("in the PoP's last round"));
    if last.complete < last.posts {
        line = line.note(format!(
            "{} of {} comments did not reach all ten viewers within 3 s",
            last.posts - last.complete,
            last.posts
        ));
    }
    let mut shape = Line::fact(
        "the same over a bare io_uring loop of that shape: each 16 ms 160 frames to 160 of 10,000 sockets",
        us(&ours),
    );
    shape.beside = format!(
        "{}, which is {:.2} W",
        us(&same_shape),
        Spread::of_ratios(&same_shape, &w).median
    );
    shape.ratio = Some(Spread::of_ratios(&ours, &same_shape));
    Ok(vec![line, shape])
}
