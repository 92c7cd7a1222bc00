//! `W`, `U` and the seal: what everything else is compared with.

use anyhow::Result;

use super::measure::{BareSide, Series};
use super::{Context, Line};
use crate::bare::Mode;
use crate::stats::Spread;

/// The frame of the definition of `W`.
pub(super) const FRAME_BYTES: usize = 200;

/// `W`, `U` and the seal with 1,000 viewers and 200 bytes.
pub(super) fn limits(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let mut side = BareSide::start(&mut engine, 1_000)?;
    let interval = side.half_load(&mut engine, FRAME_BYTES, 1_000)?;
    let [w, u, seal, posts] = context.interleave("limits", context.rounds(), |during| {
        let mut paced = |mode| side.paced(&mut engine, mode, FRAME_BYTES, interval, 0, during);
        let (w, u, seal) = (paced(Mode::Write)?, paced(Mode::Uring)?, paced(Mode::Seal)?);
        let posts = side.posts(&mut engine, FRAME_BYTES - 4, interval, during)?;
        Ok([w, u, seal, posts])
    })?;
    let fact = |what: &str, series: &Series| {
        let Spread { median, min, max } = Spread::of(&w.us());
        let beside = format!("W {median:.2} µs ({min:.2}–{max:.2})");
        Line::cpu(what, series, 2).beside(beside, Some(series.over(&w)))
    };
    let first = fact(
        "W: bare epoll loop, a `write` a socket, 200 bytes, 1,000 viewers",
        &w,
    )
    .note(format!(
        "half load is {:.0} frames/s to 1,000 sockets; post → all of them p50 {:.2} ms, p99 {:.2} ms",
        1.0 / interval.as_secs_f64(),
        posts.median(|round| round.all.ms(0.5)),
        posts.median(|round| round.all.ms(0.99))
    ))
    .note(w.pressure("its"));
    Ok(vec![
        first,
        fact("U: the same, one io_uring submit per 2,048 sends", &u),
        fact("W and one AES-256-GCM seal a send", &seal),
    ])
}
