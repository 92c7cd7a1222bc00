//! Bars: from nothing, or from a target.

use super::{BOTTOM, Bar, Colour, Plot, TOP, Target, WIDTH, line, nice, number, rect, text};

/// From one bar to the next, and a bar's own height.
const ROW: f64 = 30.0;
const BAR: f64 = 20.0;
/// Where bars begin: names stand before it.
const NAMES: f64 = 230.0;

impl Plot {
    /// Bars from nothing, each with its value behind it.
    pub(crate) fn bars(file: &'static str, title: &'static str, axis: &str, bars: &[Bar]) -> Self {
        let right = WIDTH - 70.0;
        let longest = bars.iter().map(|bar| bar.value.max).fold(0.0, f64::max);
        let x_max = nice(longest * 1.02);
        let sx = |x: f64| NAMES + x / x_max * (right - NAMES);
        let ticks = (0..=5).map(|step| x_max * f64::from(step) / 5.0);
        let ticks = ticks.map(|x| (sx(x), "grid", number(x)));
        let mut body = grid(bars.len(), axis, ticks);
        for (index, bar) in bars.iter().enumerate() {
            let [median, min, max] = [bar.value.median, bar.value.min, bar.value.max].map(sx);
            body.push_str(&one(
                index,
                &bar.name,
                (NAMES, median),
                (min, max),
                bar.colour,
            ));
            let label = number(bar.value.median);
            body.push_str(&text(
                max.max(median) + 6.0,
                middle(index) + 4.0,
                "start",
                &label,
            ));
        }
        Self::new(file, title, height(bars.len()), &body)
    }

    /// Bars from their targets over a logarithmic axis: what is twice the target is as long as what is half of it.
    pub(crate) fn targets(
        file: &'static str,
        title: &'static str,
        axis: &str,
        targets: &[Target],
    ) -> Self {
        let right = WIDTH - 130.0;
        let logs = targets.iter().map(|target| {
            let ends = [target.value.median, target.value.min, target.value.max];
            ends.map(|value| (value / target.limit).max(1e-3).log2())
        });
        let logs: Vec<[f64; 3]> = logs.collect();
        let first = logs.iter().map(|log| log[1]).fold(-1.0, f64::min).floor();
        let last = logs.iter().map(|log| log[2]).fold(1.0, f64::max).ceil();
        let sx = |log: f64| NAMES + (log - first) / (last - first) * (right - NAMES);
        let ticks = (first as i32..=last as i32).map(|log| {
            let class = if log == 0 { "target" } else { "grid" };
            (sx(log.into()), class, power_of_two(log))
        });
        let mut body = grid(targets.len(), axis, ticks);
        for (index, (target, [median, min, max])) in targets.iter().zip(logs).enumerate() {
            let colour = if median > 0.0 {
                Colour::Beyond
            } else {
                Colour::Within
            };
            let ends = (sx(median.min(0.0)), sx(median.max(0.0)));
            body.push_str(&one(index, &target.name, ends, (sx(min), sx(max)), colour));
            let (median, limit) = (number(target.value.median), number(target.limit));
            let label = format!("{median} (≤ {limit})");
            body.push_str(&text(right + 14.0, middle(index) + 4.0, "start", &label));
        }
        Self::new(file, title, height(targets.len()), &body)
    }
}

/// `1/8`, `1/4`, `1/2`, `1`, `2`, …
fn power_of_two(log: i32) -> String {
    let power = number(f64::from(log.abs()).exp2());
    if log < 0 { format!("1/{power}") } else { power }
}

fn height(rows: usize) -> f64 {
    TOP + ROW * rows as f64 + BOTTOM
}

fn middle(index: usize) -> f64 {
    TOP + ROW * (index as f64 + 0.5)
}

/// Lines from top to bottom with their labels below, and what the axis shows.
fn grid(
    rows: usize,
    axis: &str,
    ticks: impl Iterator<Item = (f64, &'static str, String)>,
) -> String {
    let bottom = height(rows) - BOTTOM;
    let ticks = ticks.map(|(x, class, label)| {
        line(class, (x, TOP), (x, bottom)) + &text(x, bottom + 18.0, "middle", &label)
    });
    ticks.collect::<String>() + &text(WIDTH / 2.0, height(rows) - 14.0, "middle", axis)
}

/// A bar's name, itself and its spread.
fn one(
    index: usize,
    name: &str,
    (from, to): (f64, f64),
    (min, max): (f64, f64),
    colour: Colour,
) -> String {
    let y = middle(index);
    text(NAMES - 10.0, y + 4.0, "end", name)
        + &rect((from, y - BAR / 2.0), (to - from, BAR), colour as usize)
        + &line("spread", (min, y), (max, y))
}
