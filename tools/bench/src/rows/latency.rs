//! Post → another viewer, at rest and under load.

use std::time::Duration;

use anyhow::Result;

use super::{Context, Line};
use crate::plot::{Curve, Plot};
use crate::stack::Wish;

/// The distribution at 5 and at 1,000 comments a second, default batching.
pub(super) fn at_rest_and_busy(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let (_pop, mut cast, _) = context.cast(&mut engine, Wish::default(), 100)?;
    let (mut lines, mut curves) = (Vec::new(), Vec::new());
    let idle = (5, "5 comments/s", "an idle PoP (5 comments/s)");
    let busy = (
        1_000,
        "1,000 comments/s",
        "1,000 comments/s, default batching",
    );
    for (per_s, name, what) in [idle, busy] {
        context.progress(&format!("post → other viewer: {what}"));
        let interval = Duration::from_secs(1) / per_s;
        let measured = cast.round(&mut engine, interval, context.during() * 2)?;
        let ms = |q: f64| measured.each.ms(q);
        let what = format!("post → other viewer of 100, {what}");
        let line = Line::fact(
            what,
            format!("p50 {:.2} ms, p99 {:.2} ms", ms(0.5), ms(0.99)),
        );
        let (posts, complete) = (measured.posts, measured.complete);
        lines.push(line.note(format!("{posts} posts, {complete} with all viewers")));
        let shares = (0..=40).map(|step| f64::from(step) / 40.0);
        curves.push(Curve {
            name: name.to_owned(),
            points: shares
                .map(|q| (ms(q.clamp(0.001, 0.999)), q * 100.0))
                .collect(),
        });
    }
    context.plots.push(Plot::lines(
        "latency",
        "Post → another viewer of 100, default batching",
        ("milliseconds", "% of deliveries within"),
        &curves,
    ));
    Ok(lines)
}
