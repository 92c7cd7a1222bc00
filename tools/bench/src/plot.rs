//! A bar chart as SVG, written by hand.

use std::fmt::Write as _;

use crate::stats::Spread;

const WIDTH: f64 = 720.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 56.0;
/// From one bar to the next, and a bar's own height.
const ROW: f64 = 30.0;
const BAR: f64 = 20.0;
/// Where bars begin and the longest ends: names stand before them, values behind.
const LEFT: f64 = 230.0;
const RIGHT: f64 = WIDTH - 70.0;
/// Intervals of the axis.
const STEPS: u8 = 5;
/// CSS rules with their colours, on white and on black.
const RULES: [(&str, &str, &str); 7] = [
    (".ground{fill:", "#ffffff", "#0d1117"),
    ("text{fill:", "#222222", "#e6edf3"),
    (".grid{stroke:", "#e3e3e3", "#30363d"),
    (".spread{stroke:", "#222222", "#e6edf3"),
    (".chorus{fill:", "#0b6e99", "#4fb3dc"),
    (".peer{fill:", "#64473a", "#c9a68f"),
    (".bare{fill:", "#787774", "#a5a29c"),
];

/// One bar: its median, with the smallest and the largest round.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: Spread,
    /// Whose it is: `chorus`, `peer` or `bare`.
    pub(crate) class: &'static str,
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
    /// Bars from nothing, each with its value behind it.
    pub(crate) fn bars(file: &'static str, title: &'static str, axis: &str, bars: &[Bar]) -> Self {
        let longest = bars.iter().map(|bar| bar.value.max).fold(0.0, f64::max);
        // The axis ends at a whole number at every step.
        let end = (longest / f64::from(STEPS)).ceil().max(1.0) * f64::from(STEPS);
        let x = |value: f64| LEFT + value / end * (RIGHT - LEFT);
        let bottom = TOP + ROW * bars.len() as f64;
        let height = bottom + BOTTOM;
        let mut body = String::new();
        for step in 0..=STEPS {
            let value = end * f64::from(step) / f64::from(STEPS);
            body += &line("grid", (x(value), TOP), (x(value), bottom));
            body += &text((x(value), bottom + 18.0), "middle", &format!("{value:.0}"));
        }
        body += &text((WIDTH / 2.0, height - 14.0), "middle", axis);
        for (index, Bar { name, value, class }) in bars.iter().enumerate() {
            let y = TOP + ROW * (index as f64 + 0.5);
            body += &text((LEFT - 10.0, y + 4.0), "end", name);
            let _ = writeln!(
                body,
                "<rect x=\"{LEFT:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR:.1}\" class=\"{class}\"/>",
                y - BAR / 2.0,
                x(value.median) - LEFT
            );
            body += &line("spread", (x(value.min), y), (x(value.max), y));
            let label = format!("{:.2}", value.median);
            body += &text((x(value.max) + 6.0, y + 4.0), "start", &label);
        }
        let title_text = escape(title);
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n<style>{}</style>\n\
             <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n\
             <text x=\"{}\" y=\"24\" font-size=\"15\" text-anchor=\"middle\">{title_text}</text>\n{body}</svg>\n",
            style(),
            WIDTH / 2.0
        );
        Self { file, title, svg }
    }
}

/// A text at a place; `anchor` says which of its ends is there.
fn text((x, y): (f64, f64), anchor: &str, text: &str) -> String {
    let text = escape(text);
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
}

fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!(
        "<line x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>\n"
    )
}

/// Both sets of colours; the viewer's settings choose.
fn style() -> String {
    let of = |colour: fn(&(&'static str, &'static str, &'static str)) -> &'static str| -> String {
        let rules = RULES.iter();
        rules
            .map(|rule| format!("{}{}}}", rule.0, colour(rule)))
            .collect()
    };
    let (light, dark) = (of(|rule| rule.1), of(|rule| rule.2));
    format!("{light}@media (prefers-color-scheme:dark){{{dark}}}")
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
    fn a_bar_ends_at_its_median_on_an_axis_that_ends_at_a_round_number() {
        let bar = Bar {
            name: "W & U".to_owned(),
            value: Spread::of(&[4.0, 5.0, 6.0]),
            class: "bare",
        };
        let svg = Plot::bars("file", "title", "µs", &[bar]).svg;
        assert!(svg.contains(">10</text>"), "{svg}");
        assert!(svg.contains(">W &amp; U</text>"), "{svg}");
        let width = (RIGHT - LEFT) / 2.0;
        assert!(svg.contains(&format!("width=\"{width:.1}\"")), "{svg}");
    }
}
