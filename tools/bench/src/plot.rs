//! Plots as SVG, written by hand: lines over a logarithmic or linear axis, and bars.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 56.0;
const COLOURS: [&str; 6] = [
    "#0b6e99", "#d9730d", "#448361", "#ad1a72", "#64473a", "#787774",
];

/// One curve.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    /// Its name.
    pub(crate) name: String,
    /// Its points, by x.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What a plot shows.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// Curves; x is logarithmic when `log_x`.
    Lines {
        /// The curves.
        curves: Vec<Curve>,
        /// Whether x is logarithmic.
        log_x: bool,
    },
    /// Bars with their spreads (value, min, max) and an optional target.
    Bars(Vec<Bar>),
}

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// What it stands for.
    pub(crate) name: String,
    /// How long it is, with the smallest and the largest round.
    pub(crate) value: crate::stats::Spread,
    /// Where it should end at the latest.
    pub(crate) target: Option<f64>,
}

/// A plot.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// The file's name without its ending.
    pub(crate) file: String,
    /// What stands above it.
    pub(crate) title: String,
    /// What the axes show.
    pub(crate) axes: (String, String),
    /// What it shows.
    pub(crate) shape: Shape,
}

impl Plot {
    /// As SVG.
    pub(crate) fn svg(&self) -> String {
        match &self.shape {
            Shape::Lines { curves, log_x } => self.lines(curves, *log_x),
            Shape::Bars(bars) => self.bars(bars),
        }
    }

    fn frame(&self, height: f64, body: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{}\" y=\"24\" font-size=\"15\" text-anchor=\"middle\">{}</text>\n{body}</svg>\n",
            WIDTH / 2.0,
            escape(&self.title)
        )
    }

    fn lines(&self, curves: &[Curve], log_x: bool) -> String {
        let points = || curves.iter().flat_map(|curve| curve.points.iter());
        let x_of = |x: f64| if log_x { x.max(1e-9).log10() } else { x };
        let x_min = points()
            .map(|point| x_of(point.0))
            .fold(f64::INFINITY, f64::min);
        let x_max = points()
            .map(|point| x_of(point.0))
            .fold(f64::NEG_INFINITY, f64::max);
        let y_max = nice(points().map(|point| point.1).fold(0.0, f64::max) * 1.05);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let sx = |x: f64| LEFT + (x_of(x) - x_min) / (x_max - x_min).max(1e-9) * (right - LEFT);
        let sy = |y: f64| bottom - y / y_max * (bottom - TOP);
        let mut body = String::new();
        for step in 0..=5 {
            let y = y_max * f64::from(step) / 5.0;
            let _ = writeln!(
                body,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#e3e3e3\"/>\
                 <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
                sy(y),
                LEFT - 8.0,
                sy(y) + 4.0,
                number(y)
            );
        }
        let mut ticks: Vec<f64> = if log_x {
            points().map(|point| point.0).collect()
        } else {
            (0..=5)
                .map(|step| x_min + (x_max - x_min) * f64::from(step) / 5.0)
                .collect()
        };
        ticks.sort_by(f64::total_cmp);
        ticks.dedup_by(|a, b| (sx(*a) - sx(*b)).abs() < 30.0);
        for x in ticks {
            let _ = writeln!(
                body,
                "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{bottom}\" y2=\"{1}\" stroke=\"#555\"/>\
                 <text x=\"{0:.1}\" y=\"{2}\" text-anchor=\"middle\">{3}</text>",
                sx(x),
                bottom + 5.0,
                bottom + 20.0,
                number(x)
            );
        }
        let _ = writeln!(
            body,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\" stroke=\"#555\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(16 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 14.0,
            escape(&self.axes.0),
            f64::midpoint(TOP, bottom),
            escape(&self.axes.1)
        );
        for (index, curve) in curves.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let path: Vec<String> = curve
                .points
                .iter()
                .map(|point| format!("{:.1},{:.1}", sx(point.0), sy(point.1)))
                .collect();
            let _ = writeln!(
                body,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                path.join(" ")
            );
            if curve.points.len() <= 20 {
                for point in &curve.points {
                    let _ = writeln!(
                        body,
                        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
                        sx(point.0),
                        sy(point.1)
                    );
                }
            }
            let y = TOP + 10.0 + 20.0 * index as f64;
            let _ = writeln!(
                body,
                "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{}</text>",
                right + 16.0,
                y - 10.0,
                right + 34.0,
                y,
                escape(&curve.name)
            );
        }
        self.frame(HEIGHT, &body)
    }

    fn bars(&self, bars: &[Bar]) -> String {
        let (left, right, row) = (300.0, WIDTH - 70.0, 30.0);
        let height = TOP + row * bars.len() as f64 + BOTTOM;
        let longest = bars
            .iter()
            .map(|bar| bar.value.max.max(bar.target.unwrap_or(0.0)))
            .fold(0.0, f64::max);
        let x_max = nice(longest * 1.02);
        let sx = |x: f64| left + x / x_max * (right - left);
        let bottom = height - BOTTOM;
        let mut body = String::new();
        for step in 0..=5 {
            let x = x_max * f64::from(step) / 5.0;
            let _ = writeln!(
                body,
                "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#e3e3e3\"/>\
                 <text x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\">{2}</text>",
                sx(x),
                bottom + 18.0,
                number(x)
            );
        }
        for (index, bar) in bars.iter().enumerate() {
            let y = TOP + row * index as f64 + 5.0;
            let over = bar.target.is_some_and(|target| bar.value.median > target);
            let colour = match (bar.target, over) {
                (None, _) => COLOURS[5],
                (Some(_), false) => COLOURS[2],
                (Some(_), true) => COLOURS[1],
            };
            let middle = y + 10.0;
            let _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{left}\" y=\"{y}\" width=\"{:.1}\" height=\"20\" fill=\"{colour}\"/>\
                 <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#222\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{}</text>",
                left - 10.0,
                middle + 4.0,
                escape(&bar.name),
                sx(bar.value.median) - left,
                sx(bar.value.min),
                sx(bar.value.max),
                sx(bar.value.max.max(bar.value.median)) + 6.0,
                middle + 4.0,
                number(bar.value.median)
            );
            if let Some(target) = bar.target {
                let _ = writeln!(
                    body,
                    "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#c00\" stroke-width=\"2\"/>",
                    sx(target),
                    y - 3.0,
                    y + 23.0
                );
            }
        }
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(left, right),
            height - 14.0,
            escape(&self.axes.0)
        );
        self.frame(height, &body)
    }
}

/// A round number at or above a value, for the end of an axis.
fn nice(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps
        .iter()
        .map(|step| step * power)
        .find(|end| *end >= value)
        .unwrap_or(10.0 * power)
}

fn number(value: f64) -> String {
    if value >= 1_000.0 {
        let whole = value.round() as u64;
        return format!("{},{:03}", whole / 1_000, whole % 1_000);
    }
    let text = if value >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, end) in [
            (0.0, 1.0),
            (0.93, 1.0),
            (1.2, 1.5),
            (7.0, 8.0),
            (99.0, 100.0),
            (150_000.0, 150_000.0),
        ] {
            assert!((nice(value) - end).abs() < 1e-9 * end.max(1.0), "{value}");
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [number(0.5), number(1.0), number(12.4), number(15_000.0)],
            ["0.5", "1", "12", "15,000"]
        );
    }
}
