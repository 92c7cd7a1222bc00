//! The tables, in the terminal and in `docs/latency.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use chorus_telemetry::say;

use super::Args;
use super::heat::{self, Cell};
use super::measure::{Network, Run, Times};
use crate::machine;

/// What may be added to the network's own time without loss, in ms, at p50 and at p99.
const ADDED_P50_MAX_MS: f64 = 10.0;
const ADDED_P99_MAX_MS: f64 = 40.0;

struct Part {
    title: &'static str,
    run: Run,
    network: Network,
    judged: bool,
}

/// All runs.
pub(crate) struct Report {
    command: String,
    machine: machine::Before,
    args: Args,
    parts: Vec<Part>,
}

fn ms(time: Option<f64>) -> String {
    time.map_or_else(|| "—".to_owned(), |ms| format!("{ms:.1}"))
}

fn three(times: &Times) -> String {
    let of = |percent| ms(times.percentile(percent));
    format!("{} / {} / {}", of(50.0), of(95.0), of(99.0))
}

impl Report {
    /// Of runs that begin now.
    pub(crate) fn new(args: &Args) -> Self {
        Self {
            command: machine::command(),
            machine: machine::look(),
            args: args.clone(),
            parts: Vec::new(),
        }
    }

    /// Takes in a run and prints it; its times are judged or not.
    pub(crate) fn add(
        &mut self,
        title: &'static str,
        run: Run,
        network: Network,
        judged: Option<()>,
    ) {
        let part = Part {
            title,
            run,
            network,
            judged: judged.is_some(),
        };
        say!("{}", part.text());
        self.parts.push(part);
    }

    /// What is slower than it should be, or missing.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut words = Vec::new();
        for part in &self.parts {
            let run = &part.run;
            if run.unanswered + run.unseen > 0 {
                words.push(format!(
                    "{}: {} posts without `durable`, {} not shown",
                    part.title, run.unanswered, run.unseen
                ));
            }
            if part.judged {
                words.extend(part.slow());
            }
        }
        words
    }

    /// Writes the document, and the plots into a directory of its name beside it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let directory = path.with_extension("");
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let stem = directory.file_name().unwrap_or_default().to_string_lossy();
        let mut text = format!(
            "# How long a comment takes from region to region\n\n\
             Written by `{}` on {}. `make latency` builds what it needs and runs it; `chorus latency --pops FILE` measures at PoPs \
             that are deployed.\n\n{}\n\n",
            self.command,
            machine::today(),
            self.machine.words(),
        );
        let _ = writeln!(
            text,
            "Three regions of {} nats-server each, as `chorus dev` runs them, a PoP in each and {} viewers and an author at each PoP, \
             in a network of `chorus wan` ([deploy/wan/latency.toml](../deploy/wan/latency.toml), round trips from \
             [deploy/wan/regions.toml](../deploy/wan/regions.toml)). Each author writes {} comments a second for {} s. All is on one \
             machine, so every process waits for the others, and one clock measures.\n\n\
             *Network* is what the same way takes alone: from the viewer over its PoP to the region's log, to the other region, over \
             the PoP there to the viewer, the sum of each link's median (`chorus wan probe` before the run). Aimed at without loss: \
             network + {ADDED_P50_MAX_MS} ms at p50, + {ADDED_P99_MAX_MS} ms at p99.",
            self.args.nodes, self.args.viewers, self.args.rate, self.args.seconds
        );
        for (index, part) in self.parts.iter().enumerate() {
            let name = format!("heat-{}.svg", index + 1);
            let file = directory.join(&name);
            fs::write(&file, part.map())
                .with_context(|| format!("cannot write {}", file.display()))?;
            text += &part.markdown(&format!("{stem}/{name}"));
        }
        let failures = self.failures();
        if !failures.is_empty() {
            text.push_str("\n## Not as aimed at\n\n");
            for words in failures {
                let _ = writeln!(text, "- {words}");
            }
        }
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Part {
    fn pairs(&self) -> impl Iterator<Item = (&str, &str, &Times, f64)> {
        let names = &self.run.names;
        self.run
            .shown
            .iter()
            .enumerate()
            .flat_map(move |(from, row)| {
                row.iter().enumerate().map(move |(to, times)| {
                    let network = self.network.shown[from][to];
                    (names[from].as_str(), names[to].as_str(), times, network)
                })
            })
    }

    fn slow(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (from, to, times, network) in self.pairs() {
            for (percent, max) in [(50.0, ADDED_P50_MAX_MS), (99.0, ADDED_P99_MAX_MS)] {
                let added = times.percentile(percent).unwrap_or(f64::MAX) - network;
                if added > max {
                    words.push(format!(
                        "{}: {from} → {to}: p{percent:.0} is {added:.1} ms over the network's {network:.1}, aimed at {max}",
                        self.title
                    ));
                }
            }
        }
        words
    }

    fn text(&self) -> String {
        let mut text = format!(
            "\n{}: {} posts; ms, p50 / p95 / p99\n",
            self.title, self.run.posts
        );
        for (index, name) in self.run.names.iter().enumerate() {
            let _ = writeln!(
                text,
                "  {name:<6} → durable      {:<26} network {:.1}",
                three(&self.run.durable[index]),
                self.network.durable[index]
            );
        }
        for (from, to, times, network) in self.pairs() {
            let _ = writeln!(
                text,
                "  {from:<6} → {to:<12} {:<26} network {network:.1}, {} counted",
                three(times),
                times.count()
            );
        }
        text
    }

    fn markdown(&self, map: &str) -> String {
        let title = self.title;
        let names = &self.run.names;
        let mut text = format!(
            "\n## {}{}\n\n![Post → shown from region to region, {title}]({map})\n\n\
             Post → shown, ms, p50 / p95 / p99 (network), {} posts:\n\n| from | {} |\n| --- |{}\n",
            title[..1].to_uppercase(),
            &title[1..],
            self.run.posts,
            names.join(" | "),
            " --- |".repeat(names.len()),
        );
        for (from, row) in self.run.shown.iter().enumerate() {
            let _ = write!(text, "| {} |", names[from]);
            for (to, times) in row.iter().enumerate() {
                let network = self.network.shown[from][to];
                let _ = write!(text, " {} ({network:.1}) |", three(times));
            }
            text.push('\n');
        }
        text.push_str("\nPost → durable, ms, p50 / p95 / p99 (network, there and back):\n\n| at | |\n| --- | --- |\n");
        for (name, (times, network)) in names
            .iter()
            .zip(self.run.durable.iter().zip(&self.network.durable))
        {
            let _ = writeln!(text, "| {name} | {} ({network:.1}) |", three(times));
        }
        text
    }

    fn map(&self) -> String {
        let row = |(from, row): (usize, &Vec<Times>)| {
            let cell = |(to, times): (usize, &Times)| Cell {
                p50: times.percentile(50.0).unwrap_or_default(),
                p99: times.percentile(99.0).unwrap_or_default(),
                network: self.network.shown[from][to],
            };
            row.iter().enumerate().map(cell).collect()
        };
        let cells: Vec<Vec<Cell>> = self.run.shown.iter().enumerate().map(row).collect();
        heat::map(self.title, &self.run.names, &cells)
    }
}
