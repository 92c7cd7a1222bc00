//! Plots as SVG, written by hand: lines over a logarithmic or linear axis, and bars.

mod bars;
mod lines;

use std::fmt::Write as _;

use crate::stats::Spread;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 56.0;
/// Colours that are told apart on white and, the second of each pair, on black.
const COLOURS: [(&str, &str); 6] = [
    ("#0b6e99", "#4fb3dc"),
    ("#d9730d", "#ffa657"),
    ("#448361", "#5fbf8a"),
    ("#ad1a72", "#e27bb8"),
    ("#64473a", "#c9a68f"),
    ("#787774", "#a5a29c"),
];
/// What of a plot is neither a curve nor a bar, on white and on black.
const INK: [(&str, &str, &str); 6] = [
    (".ground{fill:", "#ffffff", "#0d1117"),
    ("text{fill:", "#222222", "#e6edf3"),
    (".grid{stroke:", "#e3e3e3", "#30363d"),
    (".axis{stroke:", "#555555", "#8b949e"),
    (".spread{stroke:", "#222222", "#e6edf3"),
    (".target{stroke-width:2;stroke:", "#cc0000", "#ff7b72"),
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
    /// Bars from nothing.
    Bars(Vec<Bar>),
    /// Bars from a target: to the left what is better, to the right what is worse.
    Targets(Vec<Target>),
}

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// What it stands for.
    pub(crate) name: String,
    /// How long it is, with the smallest and the largest round.
    pub(crate) value: Spread,
    /// Who it is about.
    pub(crate) of: Of,
}

/// Who a bar is about: each has its colour.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    /// Chorus.
    Chorus,
    /// The bare loop.
    Bare,
    /// A peer.
    Peer,
}

/// A value and where it should end at the latest.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// What it stands for.
    pub(crate) name: String,
    /// What it is, with the smallest and the largest round.
    pub(crate) value: Spread,
    /// What it may be.
    pub(crate) limit: f64,
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
            Shape::Targets(targets) => self.targets(targets),
        }
    }

    fn frame(&self, height: f64, body: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n<style>{}</style>\n\
             <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n\
             <text x=\"{}\" y=\"24\" font-size=\"15\" text-anchor=\"middle\">{}</text>\n{body}</svg>\n",
            style(),
            WIDTH / 2.0,
            escape(&self.title)
        )
    }
}

/// Both sets of colours; which one a viewer gets is its own to say.
fn style() -> String {
    let (mut light, mut dark) = (String::new(), String::new());
    for (rule, on_white, on_black) in INK {
        let _ = write!(light, "{rule}{on_white}}}");
        let _ = write!(dark, "{rule}{on_black}}}");
    }
    for (index, (on_white, on_black)) in COLOURS.iter().enumerate() {
        for (css, colour) in [(&mut light, on_white), (&mut dark, on_black)] {
            let _ = write!(
                css,
                ".c{index}{{fill:{colour}}}.l{index}{{stroke:{colour}}}"
            );
        }
    }
    format!("{light}@media (prefers-color-scheme:dark){{{dark}}}")
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
    let text = if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
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
            [number(0.5), number(20.0), number(12.44), number(15_000.0)],
            ["0.5", "20", "12.4", "15,000"]
        );
    }
}
