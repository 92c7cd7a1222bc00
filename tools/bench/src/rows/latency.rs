//! Post → another viewer, at rest and under load.

use std::time::Duration;

use anyhow::Result;

use super::cast::Cast;
use super::{Context, Line};
use crate::plot::{Curve, Plot, Shape};
use crate::stack::Wish;

/// The distribution at 5 and at 1,000 comments a second, default batching.
pub(super) fn at_rest_and_busy(context: &mut Context) -> Result<Vec<Line>> {
    let mut engine = context.engine()?;
    let mut pop = context.pop(Wish::default())?;
    let stream = context.streams(1)?.remove(0);
    let mut cast = Cast::join(&mut engine, &mut pop, &stream, 100)?;
    let mut lines = Vec::new();
    let mut curves = Vec::new();
    for (name, what, per_s) in [
        ("5 comments/s", "an idle PoP (5 comments/s)", 5),
        (
            "1,000 comments/s",
            "1,000 comments/s, default batching",
            1_000,
        ),
    ] {
        context.progress(&format!("post → other viewer: {what}"));
        let measured = cast.round(
            &mut engine,
            Duration::from_secs(1) / per_s,
            context.during() * 2,
        )?;
        let ms = |q: f64| measured.each.quantile(q) as f64 / 1e6;
        lines.push(
            Line::fact(
                format!("post → other viewer of 100, {what}"),
                format!("p50 {:.2} ms, p99 {:.2} ms", ms(0.5), ms(0.99)),
            )
            .note(format!(
                "{} posts, {} with all viewers",
                measured.posts, measured.complete
            )),
        );
        let points = (0..=40)
            .map(|step| f64::from(step) / 40.0)
            .map(|q| (ms(q.clamp(0.001, 0.999)), q * 100.0));
        curves.push(Curve {
            name: name.to_owned(),
            points: points.collect(),
        });
    }
    context.plots.push(Plot {
        file: "latency".to_owned(),
        title: "Post → another viewer of 100, default batching".to_owned(),
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
