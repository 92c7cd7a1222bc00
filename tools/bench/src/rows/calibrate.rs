//! `W`, `U` and the seal: what everything else is compared with.

use std::time::Duration;

use anyhow::Result;

use super::{Context, Line};
use crate::bare::Mode;
use crate::load::Engine;
use crate::rows::measure::BareSide;
use crate::stats::Spread;

/// The frame of the definition of `W`.
pub(super) const FRAME_BYTES: usize = 200;

/// The interval at which half the bare loop's saturation is reached with so many viewers.
pub(super) fn half_load(
    side: &mut BareSide,
    engine: &mut Engine,
    frame_bytes: usize,
    viewers: usize,
) -> Result<Duration> {
    let flat = side.flat_out(engine, Mode::Write, frame_bytes, Duration::from_millis(700))?;
    // By CPU, not by wall clock: on a busy machine the core is not the loop's alone.
    let per_s = flat.deliveries * 1e9 / flat.cpu_ns.max(1.0);
    Ok(Duration::from_secs_f64(viewers as f64 / (per_s / 2.0)))
}

/// `W`, `U` and the seal with 1,000 viewers and 200 bytes.
pub(super) fn limits(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let mut side = BareSide::start(&mut engine, 1_000)?;
    let interval = half_load(&mut side, &mut engine, FRAME_BYTES, 1_000)?;
    let modes = [Mode::Write, Mode::Uring, Mode::Seal];
    let mut us: [Vec<f64>; 3] = Default::default();
    let mut posts_ms: [Vec<f64>; 2] = Default::default();
    let mut last = None;
    let mut round = 0;
    while context.another("limits", round) {
        round += 1;
        let during = context.during();
        for (mode, values) in modes.into_iter().zip(&mut us) {
            let measured = side.paced(&mut engine, mode, FRAME_BYTES, interval, 0, during)?;
            values.push(measured.us());
            if mode == Mode::Write {
                last = Some(measured.pressure);
            }
        }
        let text = FRAME_BYTES - 4;
        let posts = side.posts(&mut engine, Mode::Write, text, interval, during)?;
        for (q, values) in [0.5, 0.99].into_iter().zip(&mut posts_ms) {
            values.push(posts.all.quantile(q) as f64 / 1e6);
        }
    }
    let w = Spread::of(&us[0]);
    let rate = 1.0 / interval.as_secs_f64();
    let facts = |what: &str, values: &[f64]| {
        let mut line = Line::fact(what, format!("{:.2} µs", Spread::of(values).median));
        line.beside = format!("W {:.2} µs ({:.2}–{:.2})", w.median, w.min, w.max);
        line.ratio = Some(Spread::of_ratios(values, &us[0]));
        line
    };
    let mut first = facts(
        "W: bare epoll loop, a `write` a socket, 200 bytes, 1,000 viewers",
        &us[0],
    )
    .note(format!(
        "half load is {rate:.0} frames/s to 1,000 sockets; post → all of them p50 {:.2} ms, p99 {:.2} ms",
        Spread::of(&posts_ms[0]).median,
        Spread::of(&posts_ms[1]).median
    ));
    first
        .notes
        .extend(last.map(|pressure| pressure.words("in its last round")));
    Ok(vec![
        first,
        facts("U: the same, one io_uring submit per 2,048 sends", &us[1]),
        facts("W and one AES-256-GCM seal a send", &us[2]),
    ])
}
