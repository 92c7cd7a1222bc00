//! Post → another viewer, at rest and under load.

use std::time::Duration;

use anyhow::Result;

use super::context::DURING;
use super::{Context, Line};
use crate::stack::Wish;

/// The distribution at 5 and at 1,000 comments a second, default batching.
pub(super) fn at_rest_and_busy(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let (_pop, mut cast, _) = context.cast(&mut engine, Wish::default(), 100)?;
    let mut lines = Vec::new();
    for (per_s, what) in [
        (5, "an idle PoP (5 comments/s)"),
        (1_000, "1,000 comments/s, default batching"),
    ] {
        context.progress(&format!("post → other viewer: {what}"));
        let interval = Duration::from_secs(1) / per_s;
        let measured = cast.round(&mut engine, interval, DURING * 2)?;
        let ms = |q: f64| measured.each.ms(q);
        let what = format!("post → other viewer of 100, {what}");
        let line = Line::fact(
            what,
            format!("p50 {:.2} ms, p99 {:.2} ms", ms(0.5), ms(0.99)),
        );
        let (posts, complete) = (measured.posts, measured.complete);
        lines.push(line.note(format!("{posts} posts, {complete} with all viewers")));
    }
    Ok(lines)
}
