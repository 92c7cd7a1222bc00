//! One comment to many viewers: the CPU it takes, with and without batching and TLS, and how late it is.

use std::time::Duration;

use anyhow::Result;

use super::calibrate::half_load;
use super::cast::Cast;
use super::measure::{BareSide, Measured};
use super::{Context, Line, Met};
use crate::bare::Mode;
use crate::load::Engine;
use crate::plot::{Curve, Plot, Shape};
use crate::stack::Wish;
use crate::stats::Spread;

const VIEWERS: usize = 1_000;
/// How often comments come in the batched row.
const BATCHED_PER_S: u32 = 1_000;

/// Batching off: CPU a delivery beside `U` and `W`, and post → all beside the bare loop's.
pub(super) fn single(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = Engine::new()?;
    let mut pop = context.pop(Wish {
        unbatched: true,
        ..Wish::default()
    })?;
    let stream = context.streams(1)?.remove(0);
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, VIEWERS)?;
    let mut side = BareSide::start(&mut engine, VIEWERS)?;
    let frame = cast.frame_bytes(&mut engine)?;
    let interval = half_load(&mut side, &mut engine, frame, VIEWERS)?;
    let uring = pop.has_uring();

    let (mut w, mut u, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let mut lateness = Lateness::default();
    let mut last = Measured::default();
    for round in 0..context.rounds() {
        context.progress(&format!("one comment a frame: round {}", round + 1));
        w.push(
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
        let measured = cast.round(&mut engine, interval, context.during())?;
        ours.push(measured.us());
        u.push(
            side.paced(
                &mut engine,
                Mode::Uring,
                frame,
                interval,
                0,
                context.during(),
            )?
            .us(),
        );
        let posts = side.posts(
            &mut engine,
            Mode::Write,
            frame.saturating_sub(4),
            interval,
            context.during(),
        )?;
        lateness.add(&measured, &posts);
        last = measured;
    }
    let (by, beside) = if uring { ("U", &u) } else { ("W", &w) };
    let ratio = Spread::of_ratios(&ours, beside);
    let mut lines = vec![Line {
        what: "one comment a frame (batching off), 1,000 viewers: CPU of the PoP a delivery"
            .to_owned(),
        target: format!("≤ 1.15 {by}"),
        measured: format!("{:.2} µs", Spread::of(&ours).median),
        beside: format!(
            "U {:.2} µs, W {:.2} µs",
            Spread::of(&u).median,
            Spread::of(&w).median
        ),
        ratio: Some(ratio),
        limit: Some(1.15),
        met: Met::when(ratio.median <= 1.15),
        notes: vec![format!(
            "{:.0} comments/s, frames of {frame} bytes, {}; {:.2} W by the round; the PoP used {:.0} % of its core",
            1.0 / interval.as_secs_f64(),
            if uring {
                "sent by io_uring"
            } else {
                "sent by plain writes"
            },
            Spread::of_ratios(&ours, &w).median,
            last.busy() * 100.0
        )],
    }];
    lines.extend(lateness.lines());
    Ok(lines)
}

/// How late posts are at the last of all viewers, ours and the bare loop's.
#[derive(Default)]
struct Lateness {
    ours: [Vec<f64>; 2],
    bare: [Vec<f64>; 2],
    incomplete: u64,
}

impl Lateness {
    fn add(&mut self, ours: &Measured, bare: &Measured) {
        for (index, q) in [0.5, 0.99].into_iter().enumerate() {
            self.ours[index].push(ours.all.quantile(q) as f64 / 1e6);
            self.bare[index].push(bare.all.quantile(q) as f64 / 1e6);
        }
        self.incomplete += ours.posts - ours.complete;
    }

    fn lines(&self) -> Vec<Line> {
        ["p50", "p99"]
            .into_iter()
            .enumerate()
            .map(|(index, name)| {
                let ratio = Spread::of_ratios(&self.ours[index], &self.bare[index]);
                let mut line = Line {
                    what: format!("post → all of 1,000 viewers, batching off, half load, {name}"),
                    target: "≤ 2 × the bare loop's".to_owned(),
                    measured: format!("{:.2} ms", Spread::of(&self.ours[index]).median),
                    beside: format!("{:.2} ms", Spread::of(&self.bare[index]).median),
                    ratio: Some(ratio),
                    limit: Some(2.0),
                    met: Met::when(ratio.median <= 2.0 && self.incomplete == 0),
                    notes: Vec::new(),
                };
                if self.incomplete > 0 {
                    line.notes.push(format!(
                        "{} posts did not reach everyone in time",
                        self.incomplete
                    ));
                }
                line
            })
            .collect()
    }
}

/// 1,000 comments a second with default batching, beside a bare loop that writes equal frames at an equal rate.
pub(super) fn batched(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = Engine::new()?;
    let mut pop = context.pop(Wish::default())?;
    let stream = context.streams(1)?.remove(0);
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, VIEWERS)?;
    let mut side = BareSide::start(&mut engine, VIEWERS)?;
    let interval = Duration::from_secs(1) / BATCHED_PER_S;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let (mut frame, mut frames_per_s) = (0, 0.0);
    let mut posts = Measured::default();
    for round in 0..context.rounds() {
        context.progress(&format!("default batching: round {}", round + 1));
        let measured = cast.round(&mut engine, interval, context.during())?;
        let counts = &measured.counts;
        frame = (counts.comment_bytes / counts.comment_frames.max(1)) as usize;
        frames_per_s = counts.comment_frames as f64 / VIEWERS as f64 / measured.took.as_secs_f64();
        ours.push(measured.us_per_s());
        let pace = Duration::from_secs_f64(1.0 / frames_per_s.max(0.1));
        bare.push(
            side.paced(&mut engine, Mode::Write, frame, pace, 0, context.during())?
                .us_per_s(),
        );
        posts = measured;
    }
    let ratio = Spread::of_ratios(&ours, &bare);
    let comments_per_s = posts.deliveries / VIEWERS as f64 / posts.took.as_secs_f64();
    Ok(vec![Line {
        what: "1,000 comments/s × 1,000 viewers, default batching: CPU of the PoP a second"
            .to_owned(),
        target: "≤ 1.5 × the bare loop".to_owned(),
        measured: format!("{:.0} ms/s", Spread::of(&ours).median / 1e3),
        beside: format!("{:.0} ms/s", Spread::of(&bare).median / 1e3),
        ratio: Some(ratio),
        limit: Some(1.5),
        met: Met::when(ratio.median <= 1.5),
        notes: vec![format!(
            "{frames_per_s:.1} frames/s a viewer of {frame} bytes, {:.3} µs a comment and viewer; {comments_per_s:.0} \
             comments/s arrived; post → viewer p50 {:.1} ms, p99 {:.1} ms",
            posts.us(),
            posts.each.quantile(0.5) as f64 / 1e6,
            posts.each.quantile(0.99) as f64 / 1e6
        )],
    }])
}

/// The first row over TLS 1.3.
pub(super) fn tls(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = Engine::new()?;
    let mut pop = context.pop(Wish {
        unbatched: true,
        tls: true,
    })?;
    let stream = context.streams(1)?.remove(0);
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, VIEWERS)?;
    let mut side = BareSide::start(&mut engine, VIEWERS)?;
    let frame = cast.frame_bytes(&mut engine)?;
    let interval = half_load(&mut side, &mut engine, frame, VIEWERS)?;
    let (mut seal, mut ours) = (Vec::new(), Vec::new());
    for round in 0..context.rounds() {
        context.progress(&format!("TLS: round {}", round + 1));
        seal.push(
            side.paced(
                &mut engine,
                Mode::Seal,
                frame,
                interval,
                0,
                context.during(),
            )?
            .us(),
        );
        ours.push(cast.round(&mut engine, interval, context.during())?.us());
    }
    let ratio = Spread::of_ratios(&ours, &seal);
    Ok(vec![Line {
        what: "one comment a frame over TLS 1.3, 1,000 viewers: CPU of the PoP a delivery"
            .to_owned(),
        target: "≤ 1.3 × (W + one AEAD seal)".to_owned(),
        measured: format!("{:.2} µs", Spread::of(&ours).median),
        beside: format!("{:.2} µs", Spread::of(&seal).median),
        ratio: Some(ratio),
        limit: Some(1.3),
        met: Met::when(ratio.median <= 1.3),
        notes: vec![format!(
            "frames of {frame} bytes, {:.0} comments/s",
            1.0 / interval.as_secs_f64()
        )],
    }])
}

/// Post → another viewer, at rest and under load.
pub(super) fn latency(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = Engine::new()?;
    let mut pop = context.pop(Wish::default())?;
    let stream = context.streams(1)?.remove(0);
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, 100)?;
    let mut lines = Vec::new();
    let mut curves = Vec::new();
    for (what, per_s) in [
        ("an idle PoP (5 comments/s)", 5),
        ("1,000 comments/s, default batching", 1_000),
    ] {
        context.progress(&format!("post → other viewer: {what}"));
        let measured = cast.round(
            &mut engine,
            Duration::from_secs(1) / per_s,
            context.during() * 2,
        )?;
        let ms = |q: f64| measured.each.quantile(q) as f64 / 1e6;
        lines.push(Line {
            what: format!("post → other viewer of 100, {what}"),
            target: "—".to_owned(),
            measured: format!("p50 {:.2} ms, p99 {:.2} ms", ms(0.5), ms(0.99)),
            beside: "—".to_owned(),
            ratio: None,
            limit: None,
            met: Met::Fact,
            notes: vec![format!(
                "{} posts, {} with all viewers",
                measured.posts, measured.complete
            )],
        });
        let points = (0..=40)
            .map(|step| f64::from(step) / 40.0)
            .map(|q| (ms(q.clamp(0.001, 0.999)), q * 100.0));
        curves.push(Curve {
            name: format!("{per_s} comments/s"),
            points: points.collect(),
        });
    }
    context.plots.push(Plot {
        file: "latency".to_owned(),
        title: "Post → another viewer".to_owned(),
        axes: (
            "milliseconds".to_owned(),
            "% of deliveries within".to_owned(),
        ),
        shape: Shape::Lines {
            curves,
            log_x: true,
        },
    });
    Ok(lines)
}
