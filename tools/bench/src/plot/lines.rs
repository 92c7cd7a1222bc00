//! Curves over a logarithmic axis.

use super::{
    BOTTOM, COLOURS, Curve, HEIGHT, LEFT, Plot, RIGHT, TOP, WIDTH, line, nice, number, rect, text,
};

/// At most so many different x are marked each; more are marked at round numbers.
const MARKED_MAX: usize = 6;
/// Curves of more points are drawn without marks at them.
const POINTS_MAX: usize = 20;

impl Plot {
    /// The curves, with a legend beside them.
    pub(crate) fn lines(
        file: &'static str,
        title: &'static str,
        (x_axis, y_axis): (&str, &str),
        curves: &[Curve],
    ) -> Self {
        let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
        let log = |x: f64| x.max(1e-9).log10();
        let xs = || points().map(|(x, _)| log(x));
        let (x_min, x_max) = (
            xs().fold(f64::INFINITY, f64::min),
            xs().fold(f64::NEG_INFINITY, f64::max),
        );
        let y_max = nice(points().map(|(_, y)| y).fold(0.0, f64::max));
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let sx = |x: f64| LEFT + (log(x) - x_min) / (x_max - x_min).max(1e-9) * (right - LEFT);
        let sy = |y: f64| bottom - y / y_max * (bottom - TOP);
        let mut body = String::new();
        for step in 0..=5 {
            let y = y_max * f64::from(step) / 5.0;
            body += &line("grid", (LEFT, sy(y)), (right, sy(y)));
            body += &text(LEFT - 8.0, sy(y) + 4.0, "end", &number(y));
        }
        for x in ticks(points().map(|(x, _)| x)) {
            body += &line("axis", (sx(x), bottom), (sx(x), bottom + 5.0));
            body += &text(sx(x), bottom + 20.0, "middle", &number(x));
        }
        body += &line("axis", (LEFT, bottom), (right, bottom));
        body += &text(f64::midpoint(LEFT, right), HEIGHT - 14.0, "middle", x_axis);
        let y_middle = f64::midpoint(TOP, bottom);
        body += &format!("<g transform=\"translate(16 {y_middle}) rotate(-90)\">");
        body += &(text(0.0, 0.0, "middle", y_axis) + "</g>\n");
        for (index, curve) in curves.iter().enumerate() {
            let colour = index % COLOURS.len();
            let places: Vec<String> = (curve.points.iter())
                .map(|(x, y)| format!("{:.1},{:.1}", sx(*x), sy(*y)))
                .collect();
            body += &format!(
                "<polyline class=\"l{colour}\" fill=\"none\" stroke-width=\"2\" points=\"{}\"/>\n",
                places.join(" ")
            );
            let marked = curve.points.len() <= POINTS_MAX;
            for (x, y) in curve.points.iter().filter(|_| marked) {
                let (x, y) = (sx(*x), sy(*y));
                body += &format!(
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" class=\"c{colour}\"/>\n"
                );
            }
            let y = TOP + 10.0 + 20.0 * index as f64;
            body += &rect((right + 16.0, y - 10.0), (12.0, 12.0), colour);
            body += &text(right + 34.0, y, "start", &curve.name);
        }
        Self::new(file, title, HEIGHT, &body)
    }
}

/// Where an x axis is marked: at the points themselves when they are few, else at round numbers among them.
fn ticks(xs: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut xs: Vec<f64> = xs.collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let (Some(&first), Some(&last)) = (xs.first(), xs.last()) else {
        return xs;
    };
    if xs.len() <= MARKED_MAX {
        return xs;
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
        assert_eq!(ticks(few.into_iter()), [1_000.0, 5_000.0, 15_000.0]);
        let many = (1..100).map(|x| f64::from(x) * 0.3);
        let marks: Vec<String> = ticks(many).into_iter().map(number).collect();
        assert_eq!(marks, ["0.5", "1", "2", "5", "10", "20"]);
    }
}
