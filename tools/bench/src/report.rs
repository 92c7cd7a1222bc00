//! The table on standard output and in `docs/benchmarks.md`, and the plots beside it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::plot::Plot;
use crate::rows::{Line, Met, Section};
use crate::sys;
use crate::sys::usage::{self, Shares, Usage};

/// Where it was measured.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Processor, cores, kernel.
    pub(crate) line: String,
    /// While it was measured.
    pub(crate) during: Shares,
    date: String,
    before: Shares,
    accounting: String,
}

impl Machine {
    /// Looks at this one, for a second.
    pub(crate) fn look() -> Self {
        let start = Usage::now();
        std::thread::sleep(Duration::from_secs(1));
        Self {
            line: sys::describe(),
            during: Shares::default(),
            date: sys::today(),
            before: Usage::now().since(&start),
            accounting: usage::accounting(),
        }
    }
}

/// Shares of the machine in words.
pub(crate) fn shares(shares: &Shares) -> String {
    format!(
        "of both cores the bench and what it started used {:.0} %, other processes {:.0} %, the host took {:.1} % away \
         (steal)",
        shares.own * 100.0,
        shares.others * 100.0,
        shares.stolen * 100.0
    )
}

/// A line of the table as plain text.
pub(crate) fn plain(line: &Line) -> String {
    let mark = match line.met {
        Met::Yes => "[yes]",
        Met::No => "[NO ]",
        Met::Fact => "[   ]",
        Met::NotMeasured => "[ ? ]",
    };
    let mut text = format!(
        "  {mark} {}\n      target {} · measured {} (user {}) · beside {}",
        line.what, line.target, line.measured, line.user, line.beside
    );
    if let Some(ratio) = line.ratio {
        let _ = write!(text, " · ratio {}", ratio.words(2));
    }
    for note in &line.notes {
        let _ = write!(text, "\n      {note}");
    }
    text
}

/// A run: what is said of it above the table.
pub(crate) struct Run<'a> {
    /// How it was begun.
    pub(crate) command: String,
    /// The PoP was one that ran already.
    pub(crate) is_given: bool,
    pub(crate) machine: &'a Machine,
    pub(crate) took: Duration,
}

/// What stands between these is written by people: the next run keeps it.
const BY_HAND: (&str, &str) = (
    "<!-- by hand: the next run keeps this -->",
    "<!-- /by hand -->",
);

/// What people wrote into an earlier report.
fn by_hand(report: &str) -> &str {
    (report.split_once(BY_HAND.0))
        .and_then(|(_, rest)| rest.split_once(BY_HAND.1))
        .map_or("", |(text, _)| text.trim())
}

/// Writes `benchmarks.md` and its plots into a folder.
pub(crate) fn write(out: &Path, run: &Run<'_>, sections: &[Section], plots: &[Plot]) -> Result<()> {
    std::fs::create_dir_all(out.join("benchmarks"))?;
    let path = out.join("benchmarks.md");
    let earlier = std::fs::read_to_string(&path).unwrap_or_default();
    let by_hand = by_hand(&earlier);
    let mut text = preamble(run);
    let lines = || {
        let sections = sections.iter();
        sections.flat_map(|section| section.lines.iter().map(move |line| (section, line)))
    };
    text.push_str(
        "\n| row | what | target | measured | in user space | beside | ratio (min–max) | met | others, steal |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (section, line) in lines() {
        let met = match line.met {
            Met::Yes => "yes",
            Met::No => "**no**",
            Met::Fact => "",
            Met::NotMeasured => "not measured",
        };
        let ratio = line.ratio.map(|ratio| ratio.words(2)).unwrap_or_default();
        let (others, stolen) = (section.shares.others * 100.0, section.shares.stolen * 100.0);
        let cells = [
            section.name,
            &line.what,
            &line.target,
            &line.measured,
            &line.user,
            &line.beside,
            &ratio,
            met,
            &format!("{others:.0} %, {stolen:.1} %"),
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    let _ = write!(text, "\n{}\n{by_hand}\n{}\n", BY_HAND.0, BY_HAND.1);
    text.push_str("\n## Notes\n\n");
    for (section, line) in lines() {
        for note in &line.notes {
            let _ = writeln!(text, "- {}, {}: {note}.", section.name, line.what);
        }
    }
    if !plots.is_empty() {
        text.push_str("\n## Plots\n\n");
    }
    for plot in plots {
        let file = format!("{}.svg", plot.file);
        std::fs::write(out.join("benchmarks").join(&file), &plot.svg)?;
        let _ = writeln!(text, "![{}](benchmarks/{file})\n", plot.title);
    }
    text.push_str(
        "\n## Your own PoP\n\n\
         `chorus-bench row fanout --url wss://host:port --pid PID` measures a PoP that is running already (on this \
         machine, for its CPU); `chorus-bench row` lists the rows.\n",
    );
    std::fs::write(&path, text).with_context(|| path.display().to_string())
}

/// Where, when, how and in whose company it was measured.
fn preamble(run: &Run<'_>) -> String {
    let Run { machine, took, .. } = run;
    format!(
        "# Benchmarks\n\n\
         Written by `{}` on {}, in {:.0} minutes. `make bench` installs the peers \
         (`tools/bench/peers/install.sh`), builds everything in release mode and runs `chorus-bench all`; \
         `chorus-bench row NAME` runs one row, with `--before DIR` in turns with the binaries of an earlier build.{}\n\n\
         Machine: {}. In the second before the run other processes used {:.0} % of both cores. During the run {}. The \
         last column of the table has the same two numbers for the time of each row: what others used, and what the \
         host took away.\n\n\
         The server under test has core {}, the load and everything else (origin, NATS) core {}. Sides are \
         interleaved round by round; a ratio is the median of the rounds' ratios, with the smallest and the largest. \
         `W` is the CPU a delivery of a bare epoll loop that `write`s one prebuilt frame of equal size to every \
         socket, `U` the same loop with one `io_uring` submit per 2,048 sends, both at half the rate at which the \
         loop saturates its core. CPU is that of all threads of the processes named, read from the scheduler \
         (`/proc/PID/task/*/schedstat`); what of it is in user space is the kernel's sample of 10 ms \
         (`/proc/PID/stat`), all rounds together. Time that the host took away is in them unless the kernel is built \
         with `PARAVIRT_TIME_ACCOUNTING`; softirqs, which over the loopback are the receiving half of every send, are \
         in them unless it is built with `IRQ_TIME_ACCOUNTING`: {}.\n",
        run.command,
        machine.date,
        took.as_secs_f64() / 60.0,
        if run.is_given {
            " **The PoP was one that ran already (`--url`): batching, limits and TLS are its own.**"
        } else {
            ""
        },
        machine.line,
        machine.before.others * 100.0,
        shares(&machine.during),
        sys::SERVER_CORE,
        sys::LOAD_CORE,
        machine.accounting
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_is_kept() {
        let report = format!("# Benchmarks\n{}\nIt is slow.\n{}\n", BY_HAND.0, BY_HAND.1);
        assert_eq!(by_hand(&report), "It is slow.");
        assert_eq!(by_hand("# Benchmarks\n"), "");
    }
}
