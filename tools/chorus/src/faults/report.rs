//! The table of a run, in the terminal and in `docs/faults.md`.

use std::fmt::Write as _;

use super::Args;
use super::check::Verdict;
use super::rows::Row;
use crate::machine;

/// What became of a row.
pub(crate) enum Outcome {
    /// Why it was not run.
    Skipped(String),
    /// What was found, and what of it is not as expected.
    Ran(Box<Verdict>, Vec<String>),
}

/// All rows.
pub(crate) struct Report {
    seed: u64,
    command: String,
    machine: machine::Before,
    rate: u32,
    nodes: u8,
    rows: Vec<(Row, Outcome)>,
}

impl Report {
    /// Of a run that begins now.
    pub(crate) fn new(seed: u64, args: &Args) -> Self {
        Self {
            seed,
            command: machine::command(),
            machine: machine::look(),
            rate: args.rate,
            nodes: args.nodes,
            rows: Vec::new(),
        }
    }

    /// With one more row.
    pub(crate) fn add(&mut self, row: &Row, outcome: Outcome) {
        self.rows.push((*row, outcome));
    }

    /// Whether something is not as expected.
    pub(crate) fn failed(&self) -> bool {
        let failed =
            |outcome: &Outcome| matches!(outcome, Outcome::Ran(_, words) if !words.is_empty());
        self.rows.iter().any(|(_, outcome)| failed(outcome))
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{:<16} {:>6} {:>6} {:>6} {:>6} {:>5} {:>5} {:>5} {:>8} {:>8} {:>6}\n",
            "fault",
            "posts",
            "ack",
            "refus",
            "unconf",
            "lost",
            "twice",
            "holes",
            "durable",
            "shown",
            "max"
        );
        for (row, outcome) in &self.rows {
            let _ = match outcome {
                Outcome::Skipped(why) => writeln!(text, "{:<16} skipped: {why}", row.name),
                Outcome::Ran(verdict, words) => {
                    let _ = write!(text, "{:<16}", row.name);
                    for (figure, width) in figures(verdict).iter().zip(WIDTHS) {
                        let _ = write!(text, " {figure:>width$}");
                    }
                    let ended = if words.is_empty() {
                        "as expected"
                    } else {
                        "FAILED"
                    };
                    writeln!(text, " {:>6}  {ended}", row.longest_max.as_millis())
                }
            };
        }
        text
    }

    /// For `docs/faults.md`.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# What is left when something fails\n\n\
             Written by `{}` on {} (seed {}). `make faults` builds what it needs and runs it; `chorus faults --only NAME` runs a \
             row, `--list` names them.\n\n{}\n\n\
             Three regions of {} nats-servers, an origin and a PoP each, as `chorus dev` runs them, in a network of `chorus wan` \
             ([deploy/wan/faults.toml](../deploy/wan/faults.toml)). At each PoP an author writes {} comments a second and a viewer \
             watches; like browsers, they go to the next PoP with their `resume` when a connection ends, and authors send again \
             what has no outcome. At the end a checker, which shares no code with Chorus, compares every receipt and every \
             delivery with the logs, read from NATS, and with the history of every region.\n\n",
            self.command,
            machine::today(),
            self.seed,
            self.machine.words(),
            self.nodes,
            self.rate
        );
        text.push_str(
            "- *lost*: acknowledged by `durable`, and not in a log or not in the history of a region; or refused, and stored.\n\
             - *twice*: shown, delivered or stored twice.\n\
             - *holes*: stored, and for a viewer neither shown nor told by `gap`.\n\
             - *post → durable*: the longest time from a post to the first `durable` of its author for it or a later one.\n\
             - *durable → shown*: the longest time from `durable` to a viewer anywhere.\n\n\
             | fault | what | posts | acknowledged | refused | unconfirmed | lost | twice | holes | post → durable, longest | durable → shown, longest | at most expected | as expected |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for (row, outcome) in &self.rows {
            let _ = match outcome {
                Outcome::Skipped(why) => writeln!(
                    text,
                    "| {} | {} | | | | | | | | | | | skipped: {why} |",
                    row.name, row.what
                ),
                Outcome::Ran(verdict, words) => {
                    let [counts @ .., durable, shown] = figures(verdict);
                    writeln!(
                        text,
                        "| {} | {} | {} | {durable} ms | {shown} ms | {} and {} ms | {} |",
                        row.name,
                        row.what,
                        counts.map(|count| count.to_string()).join(" | "),
                        row.longest_max.as_millis(),
                        row.shown_max().as_millis(),
                        if words.is_empty() { "yes" } else { "**no**" }
                    )
                }
            };
        }
        for (row, outcome) in &self.rows {
            if let Outcome::Ran(_, words) = outcome
                && !words.is_empty()
            {
                let _ = writeln!(text, "\n{}:\n", row.name);
                for words in words {
                    let _ = writeln!(text, "- {words}");
                }
            }
        }
        text
    }
}

/// The widths of [`figures`] in the terminal.
const WIDTHS: [usize; 9] = [6, 6, 6, 6, 5, 5, 5, 8, 8];

/// The numbers of a row in the order of the columns; the last two are milliseconds. What was refused and stored counts as
/// lost.
fn figures(verdict: &Verdict) -> [u128; 9] {
    [
        verdict.posts as u128,
        verdict.acknowledged as u128,
        verdict.refused as u128,
        verdict.unconfirmed as u128,
        (verdict.lost.len() + verdict.belied.len()) as u128,
        verdict.doubled.len() as u128,
        verdict.holes.len() as u128,
        verdict.write.time.as_millis(),
        verdict.read.time.as_millis(),
    ]
}
