//! The table on standard output and in `docs/benchmarks.md`, and the plots beside it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::plot::Plot;
use crate::rows::{Line, Met};
use crate::sys;

/// Where it was measured.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Processor, cores, kernel.
    pub(crate) line: String,
    date: String,
    busy: f64,
}

impl Machine {
    /// Looks at this one, for a second.
    pub(crate) fn look() -> Self {
        Self {
            line: sys::describe(),
            date: sys::today(),
            busy: sys::busy_share(Duration::from_secs(1)),
        }
    }
}

/// A line of the table as plain text.
pub(crate) fn plain(line: &Line) -> String {
    let mut text = format!(
        "  {} {}\n      target {} · measured {} · beside {}",
        mark(line.met),
        line.what,
        line.target,
        line.measured,
        line.beside
    );
    if let Some(ratio) = line.ratio {
        let _ = write!(
            text,
            " · ratio {:.2} ({:.2}–{:.2})",
            ratio.median, ratio.min, ratio.max
        );
    }
    for note in &line.notes {
        let _ = write!(text, "\n      {note}");
    }
    text
}

fn mark(met: Met) -> &'static str {
    match met {
        Met::Yes => "[yes]",
        Met::No => "[NO ]",
        Met::Fact => "[   ]",
        Met::NotMeasured => "[ ? ]",
    }
}

fn word(met: Met) -> &'static str {
    match met {
        Met::Yes => "yes",
        Met::No => "**no**",
        Met::Fact => "",
        Met::NotMeasured => "not measured",
    }
}

/// Writes `benchmarks.md` and its plots into a folder.
pub(crate) fn write(
    out: &Path,
    machine: &Machine,
    took: Duration,
    sections: &[(String, Vec<Line>)],
    plots: &[Plot],
) -> Result<()> {
    std::fs::create_dir_all(out.join("benchmarks"))?;
    let mut text = format!(
        "# Benchmarks\n\n\
         Written by `make bench` (`cargo run --release -p chorus-bench -- all`) on {}, in {:.0} minutes.\n\n\
         Machine: {}. Before the run {:.0} % of its CPU was in use by others.\n\n\
         The server under test has core {}, the load and everything else (origin, NATS) core {}. Sides are \
         interleaved round by round; a ratio is the median of the rounds' ratios, with the smallest and the largest. \
         `W` is the CPU a delivery of a bare epoll loop that `write`s one prebuilt frame of equal size to every \
         socket, `U` the same loop with one `io_uring` submit per 2,048 sends, both at half the rate at which the \
         loop saturates its core. CPU is that of all threads of the process named, read from the scheduler.\n\n\
         | row | what | target | measured | beside | ratio (min–max) | met |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
        machine.date,
        took.as_secs_f64() / 60.0,
        machine.line,
        machine.busy * 100.0,
        sys::SERVER_CORE,
        sys::LOAD_CORE
    );
    for (name, lines) in sections {
        for line in lines {
            let ratio = line.ratio.map_or_else(String::new, |ratio| {
                format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max)
            });
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {ratio} | {} |",
                cell(&line.what),
                cell(&line.target),
                cell(&line.measured),
                cell(&line.beside),
                word(line.met)
            );
        }
    }
    let missed: Vec<&Line> = lines_that(sections, Met::No);
    let absent: Vec<&Line> = lines_that(sections, Met::NotMeasured);
    text.push_str("\n## What falls short\n\n");
    if missed.is_empty() && absent.is_empty() {
        text.push_str("Nothing in this run.\n");
    }
    for line in missed {
        let _ = writeln!(
            text,
            "- {}: target {}, measured {}.",
            line.what, line.target, line.measured
        );
    }
    for line in absent {
        let _ = writeln!(
            text,
            "- {}: not measured: {}.",
            line.what,
            line.notes.join("; ")
        );
    }
    text.push_str("\n## Notes\n\n");
    for (name, lines) in sections {
        for line in lines.iter().filter(|line| line.met != Met::NotMeasured) {
            for note in &line.notes {
                let _ = writeln!(text, "- {name}, {}: {note}.", line.what);
            }
        }
    }
    if !plots.is_empty() {
        text.push_str("\n## Plots\n\n");
    }
    for plot in plots {
        let file = format!("{}.svg", plot.file);
        std::fs::write(out.join("benchmarks").join(&file), plot.svg())?;
        let _ = writeln!(text, "![{}](benchmarks/{file})\n", plot.title);
    }
    text.push_str(
        "\n## Your own PoP\n\n\
         `chorus-bench row fanout --url wss://host:port --pid PID` measures a PoP that is running already (on this \
         machine, for its CPU); `chorus-bench row` lists the rows.\n",
    );
    let path = out.join("benchmarks.md");
    std::fs::write(&path, text).with_context(|| path.display().to_string())
}

fn lines_that(sections: &[(String, Vec<Line>)], met: Met) -> Vec<&Line> {
    sections
        .iter()
        .flat_map(|(_, lines)| lines)
        .filter(|line| line.met == met)
        .collect()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
