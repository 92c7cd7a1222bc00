//! Curves over a linear or logarithmic axis.

use std::fmt::Write as _;

use super::{BOTTOM, COLOURS, Curve, HEIGHT, LEFT, Plot, RIGHT, TOP, WIDTH, escape, nice, number};

/// At most so many different x are marked each; more are marked at round numbers.
const MARKED_MAX: usize = 6;

impl Plot {
    /// The curves, with a legend beside them.
    pub(super) fn lines(&self, curves: &[Curve], log_x: bool) -> String {
        let points = || curves.iter().flat_map(|curve| curve.points.iter());
        let x_of = |x: f64| if log_x { x.max(1e-9).log10() } else { x };
        let x_min = points()
            .map(|point| x_of(point.0))
            .fold(f64::INFINITY, f64::min);
        let x_max = points()
            .map(|point| x_of(point.0))
            .fold(f64::NEG_INFINITY, f64::max);
        let y_max = nice(points().map(|point| point.1).fold(0.0, f64::max));
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let sx = |x: f64| LEFT + (x_of(x) - x_min) / (x_max - x_min).max(1e-9) * (right - LEFT);
        let sy = |y: f64| bottom - y / y_max * (bottom - TOP);
        let mut body = String::new();
        for step in 0..=5 {
            let y = y_max * f64::from(step) / 5.0;
            let _ = writeln!(
                body,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{0:.1}\" y2=\"{0:.1}\" class=\"grid\"/>\
                 <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
                sy(y),
                LEFT - 8.0,
                sy(y) + 4.0,
                number(y)
            );
        }
        let ticks = ticks(points().map(|point| point.0), log_x);
        for x in ticks {
            let _ = writeln!(
                body,
                "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{bottom}\" y2=\"{1}\" class=\"axis\"/>\
                 <text x=\"{0:.1}\" y=\"{2}\" text-anchor=\"middle\">{3}</text>",
                sx(x),
                bottom + 5.0,
                bottom + 20.0,
                number(x)
            );
        }
        let _ = writeln!(
            body,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\" class=\"axis\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(16 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 14.0,
            escape(&self.axes.0),
            f64::midpoint(TOP, bottom),
            escape(&self.axes.1)
        );
        for (index, curve) in curves.iter().enumerate() {
            let colour = index % COLOURS.len();
            let path: Vec<String> = curve
                .points
                .iter()
                .map(|point| format!("{:.1},{:.1}", sx(point.0), sy(point.1)))
                .collect();
            let _ = writeln!(
                body,
                "<polyline class=\"l{colour}\" fill=\"none\" stroke-width=\"2\" points=\"{}\"/>",
                path.join(" ")
            );
            if curve.points.len() <= 20 {
                for point in &curve.points {
                    let _ = writeln!(
                        body,
                        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" class=\"c{colour}\"/>",
                        sx(point.0),
                        sy(point.1)
                    );
                }
            }
            let y = TOP + 10.0 + 20.0 * index as f64;
            let _ = writeln!(
                body,
                "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"12\" class=\"c{colour}\"/><text x=\"{}\" y=\"{}\">{}</text>",
                right + 16.0,
                y - 10.0,
                right + 34.0,
                y,
                escape(&curve.name)
            );
        }
        self.frame(HEIGHT, &body)
    }
}

/// Where an x axis is marked: at the points themselves when they are few, else at round numbers among them.
fn ticks(xs: impl Iterator<Item = f64>, log: bool) -> Vec<f64> {
    let mut xs: Vec<f64> = xs.collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let (Some(first), Some(last)) = (xs.first().copied(), xs.last().copied()) else {
        return xs;
    };
    if xs.len() <= MARKED_MAX {
        return xs;
    }
    if !log {
        return (0..=5)
            .map(|step| first + (last - first) * f64::from(step) / 5.0)
            .collect();
    }
    let powers = first.max(1e-9).log10().floor() as i32..=last.max(1e-9).log10().ceil() as i32;
    powers
        .flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(power)))
        .filter(|x| (first..=last).contains(x))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_marked_at_few_points_or_round_numbers() {
        let few = [1_000.0, 5_000.0, 15_000.0, 1_000.0];
        assert_eq!(ticks(few.into_iter(), true), [1_000.0, 5_000.0, 15_000.0]);
        let many = (1..100).map(|x| f64::from(x) * 0.3);
        let marks: Vec<String> = ticks(many, true).into_iter().map(number).collect();
        assert_eq!(marks, ["0.5", "1", "2", "5", "10", "20"]);
    }
}
