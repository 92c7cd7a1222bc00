//! Bars: from nothing, or from a target.

use std::fmt::Write as _;

use super::{BOTTOM, Bar, Of, Plot, TOP, Target, WIDTH, escape, nice, number};

/// From one bar to the next, and a bar's own height.
const ROW: f64 = 30.0;
const BAR: f64 = 20.0;
/// Where bars begin: names stand before it.
const NAMES: f64 = 230.0;
/// Colours by number: Chorus, the bare loop, peers; within the target, beyond it.
const CHORUS: usize = 0;
const BARE: usize = 5;
const PEER: usize = 4;
const WITHIN: usize = 2;
const BEYOND: usize = 1;

impl Plot {
    /// Bars from nothing, each with its value behind it.
    pub(super) fn bars(&self, bars: &[Bar]) -> String {
        let right = WIDTH - 70.0;
        let longest = bars.iter().map(|bar| bar.value.max).fold(0.0, f64::max);
        let x_max = nice(longest * 1.02);
        let sx = |x: f64| NAMES + x / x_max * (right - NAMES);
        let ticks: Vec<f64> = (0..=5).map(|step| x_max * f64::from(step) / 5.0).collect();
        let mut body = grid(bars.len(), &ticks, sx);
        for (index, bar) in bars.iter().enumerate() {
            let colour = match bar.of {
                Of::Chorus => CHORUS,
                Of::Bare => BARE,
                Of::Peer => PEER,
            };
            let ends = (NAMES, sx(bar.value.median));
            let spread = (sx(bar.value.min), sx(bar.value.max));
            body.push_str(&one(index, &bar.name, ends, spread, colour));
            let after = spread.1.max(ends.1) + 6.0;
            body.push_str(&label(index, after, &number(bar.value.median)));
        }
        body.push_str(&self.below(bars.len()));
        self.frame(height(bars.len()), &body)
    }

    /// Bars from their targets over a logarithmic axis: what is twice the target is as long as what is half of it.
    pub(super) fn targets(&self, targets: &[Target]) -> String {
        let right = WIDTH - 130.0;
        let share = |target: &Target, value: f64| (value / target.limit).max(1e-3).log2();
        let all = || {
            targets.iter().flat_map(move |target| {
                [
                    share(target, target.value.min),
                    share(target, target.value.max),
                ]
            })
        };
        let first = all().fold(-1.0, f64::min).floor();
        let last = all().fold(1.0, f64::max).ceil();
        let sx = |log: f64| NAMES + (log - first) / (last - first) * (right - NAMES);
        let ticks: Vec<f64> = (first as i32..=last as i32).map(f64::from).collect();
        let mut body = grid(targets.len(), &[], sx);
        let bottom = height(targets.len()) - BOTTOM;
        for log in ticks {
            let class = if log == 0.0 { "target" } else { "grid" };
            let _ = writeln!(
                body,
                "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" class=\"{class}\"/>\
                 <text x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\">{2}</text>",
                sx(log),
                bottom + 18.0,
                power_of_two(log)
            );
        }
        for (index, target) in targets.iter().enumerate() {
            let log = share(target, target.value.median);
            let colour = if log > 0.0 { BEYOND } else { WITHIN };
            let ends = (sx(log.min(0.0)), sx(log.max(0.0)));
            let spread = (
                sx(share(target, target.value.min)),
                sx(share(target, target.value.max)),
            );
            body.push_str(&one(index, &target.name, ends, spread, colour));
            let text = format!(
                "{} (≤ {})",
                number(target.value.median),
                number(target.limit)
            );
            body.push_str(&label(index, right + 14.0, &text));
        }
        body.push_str(&self.below(targets.len()));
        self.frame(height(targets.len()), &body)
    }

    fn below(&self, rows: usize) -> String {
        format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            WIDTH / 2.0,
            height(rows) - 14.0,
            escape(&self.axes.0)
        )
    }
}

/// `1/8`, `1/4`, `1/2`, `1`, `2`, …
fn power_of_two(log: f64) -> String {
    if log < 0.0 {
        format!("1/{}", number((-log).exp2()))
    } else {
        number(log.exp2())
    }
}

fn height(rows: usize) -> f64 {
    TOP + ROW * rows as f64 + BOTTOM
}

fn grid(rows: usize, ticks: &[f64], sx: impl Fn(f64) -> f64) -> String {
    let bottom = height(rows) - BOTTOM;
    ticks.iter().fold(String::new(), |mut body, x| {
        let _ = writeln!(
            body,
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" class=\"grid\"/>\
             <text x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\">{2}</text>",
            sx(*x),
            bottom + 18.0,
            number(*x)
        );
        body
    })
}

/// A bar's name, itself and its spread.
fn one(
    index: usize,
    name: &str,
    (from, to): (f64, f64),
    (min, max): (f64, f64),
    colour: usize,
) -> String {
    let y = TOP + ROW * index as f64 + (ROW - BAR) / 2.0;
    let middle = y + BAR / 2.0;
    format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
         <rect x=\"{from:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" class=\"c{colour}\"/>\
         <line x1=\"{min:.1}\" x2=\"{max:.1}\" y1=\"{middle}\" y2=\"{middle}\" class=\"spread\"/>\n",
        NAMES - 10.0,
        middle + 4.0,
        escape(name),
        to - from
    )
}

fn label(index: usize, x: f64, text: &str) -> String {
    let y = TOP + ROW * index as f64 + ROW / 2.0 + 4.0;
    format!("<text x=\"{x:.1}\" y=\"{y}\">{}</text>\n", escape(text))
}
