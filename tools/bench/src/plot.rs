//! Plots as SVG, written by hand: lines over a logarithmic axis, and bars.

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

/// One curve: its points by x.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// One bar: its median, with the smallest and the largest round.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: Spread,
    pub(crate) colour: Colour,
}

/// What a bar stands for, by its number in [`COLOURS`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    Chorus = 0,
    Beyond = 1,
    Within = 2,
    Peer = 4,
    Bare = 5,
}

/// A value and what it may be.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) value: Spread,
    pub(crate) limit: f64,
}

/// A plot.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// The file's name without its ending.
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    pub(crate) svg: String,
}

impl Plot {
    fn new(file: &'static str, title: &'static str, height: f64, body: &str) -> Self {
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n<style>{}</style>\n\
             <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n\
             <text x=\"{}\" y=\"24\" font-size=\"15\" text-anchor=\"middle\">{}</text>\n{body}</svg>\n",
            style(),
            WIDTH / 2.0,
            escape(title)
        );
        Self { file, title, svg }
    }
}

/// A text at a place; `anchor` says which of its ends is there.
fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    let text = escape(text);
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
}

/// A line from one place to another.
fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!(
        "<line x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>\n"
    )
}

/// A filled rectangle.
fn rect((x, y): (f64, f64), (width, height): (f64, f64), colour: usize) -> String {
    format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"c{colour}\"/>\n"
    )
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
