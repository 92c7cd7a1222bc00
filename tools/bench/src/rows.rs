//! The rows of the table, what they share, and the run over all of them.

mod calibrate;
mod cast;
mod component;
mod connect;
mod context;
mod durable;
mod fanout;
mod idle;
mod latency;
mod line;
pub(crate) mod measure;
mod peer;
mod react;
mod restart;
mod scale;
mod slow;
mod streams;
mod wire;

use std::path::Path;

use anyhow::{Result, bail};
use chorus_telemetry::say;

use crate::Options;
use crate::plot::{Plot, Shape, Target};
use crate::report;
use crate::sys;
use crate::sys::usage::{Shares, Usage};

pub(crate) use context::{Context, Length};
pub(crate) use line::{Line, Met};

/// A row: what it answers, how, and what share of the time it has in the full and in the quick run.
struct Row {
    name: &'static str,
    what: &'static str,
    run: fn(&mut Context) -> Result<Vec<Line>>,
    share_s: (u64, u64),
}

const fn row(
    name: &'static str,
    what: &'static str,
    share_s: (u64, u64),
    run: fn(&mut Context) -> Result<Vec<Line>>,
) -> Row {
    Row {
        name,
        what,
        run,
        share_s,
    }
}

/// Every row. The shares of the full run are 15 minutes together, those of the quick one 3, less what it takes to
/// end. The quick run leaves out what has no share in it: `fanout` shows `W`, `U` and the peers as well.
const ROWS: &[Row] = &[
    row(
        "limits",
        "W, U and the seal on this machine",
        (62, 0),
        calibrate::limits,
    ),
    row(
        "fanout",
        "one comment a frame, 1,000 viewers: CPU a delivery, post to all",
        (125, 24),
        fanout::single,
    ),
    row(
        "batched",
        "1,000 comments/s to 1,000 viewers, default batching",
        (42, 9),
        fanout::batched,
    ),
    row(
        "latency",
        "post to another viewer, idle and at 1,000 comments/s",
        (15, 7),
        latency::at_rest_and_busy,
    ),
    row(
        "streams",
        "1,000 streams of 10 viewers, a comment/s each",
        (60, 15),
        streams::many,
    ),
    row(
        "tls",
        "one comment a frame over TLS 1.3",
        (42, 10),
        fanout::tls,
    ),
    row(
        "idle",
        "memory of an idle connection",
        (45, 10),
        idle::memory,
    ),
    row(
        "component",
        "the session component beside its native core",
        (30, 8),
        component::beside_native,
    ),
    row("durable", "CPU of a durable post", (60, 12), durable::post),
    row(
        "synced",
        "durable posts with `sync_interval: always`",
        (40, 0),
        durable::synced,
    ),
    row("react", "5,000 reactions/s", (35, 7), react::flood),
    row("connect", "a new connection", (95, 14), connect::anonymous),
    row(
        "slow",
        "10 % of the viewers stop reading",
        (45, 26),
        slow::readers,
    ),
    row("wire", "bytes a comment on the wire", (35, 12), wire::bytes),
    row(
        "scale",
        "cost a delivery at 1,000, 5,000 and 15,000 viewers",
        (100, 20),
        scale::flat,
    ),
    row("restart", "PoP restart to ready", (8, 3), restart::to_ready),
    row(
        "peers",
        "nchan, nats-server, node ws beside W",
        (50, 0),
        peer::beside_w,
    ),
];

/// What a row has to say, and how busy the machine was meanwhile.
pub(crate) struct Section {
    /// The row's name.
    pub(crate) name: &'static str,
    /// Its lines.
    pub(crate) lines: Vec<Line>,
    /// Of the machine, while it ran.
    pub(crate) shares: Shares,
}

/// Runs some rows, or all, and reports.
pub(crate) fn run(options: &Options, length: Length, names: &[String]) -> Result<()> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !ROWS.iter().any(|row| row.name == name.as_str()))
    {
        list();
        bail!("there is no row {unknown:?}");
    }
    if length == Length::Chosen && names.is_empty() {
        list();
        return Ok(());
    }
    if sys::cores() < 2 || !sys::has_core(sys::SERVER_CORE) || !sys::has_core(sys::LOAD_CORE) {
        bail!("this needs two cores: one for the server, one for the load");
    }
    let before = Usage::now();
    let mut machine = report::Machine::look();
    sys::pin_self(sys::LOAD_CORE);
    let files = sys::raise_files(40_000);
    let mut context = Context::new(options.clone(), length);
    context.progress(&format!("{}; {files} files", machine.line));
    if options.url.is_some() {
        context.progress(
            "with --url batching, limits and TLS are the PoP's own: rows that want others measure what is there",
        );
    }
    let mut sections = Vec::new();
    for row in ROWS {
        let wanted = names.is_empty() || names.iter().any(|name| name == row.name);
        let no_time = length == Length::Quick && row.share_s.1 == 0;
        if !wanted || no_time || options.no_peers && row.name == "peers" {
            continue;
        }
        let section = one(&mut context, row);
        for line in &section.lines {
            say!("{}", report::plain(line));
        }
        sections.push(section);
    }
    context.plots.splice(0..0, ratios(&sections));
    machine.during = Usage::now().since(&before);
    say!("{}", report::shares(&machine.during));
    let took = context.elapsed();
    let whole = names.is_empty() && length == Length::Full;
    let out = options
        .out
        .as_deref()
        .or(whole.then_some(Path::new("docs")));
    if let Some(out) = out {
        let run = report::Run {
            command: if whole { "make bench" } else { "chorus-bench" },
            is_given: options.url.is_some(),
            machine: &machine,
            took,
        };
        report::write(out, &run, &sections, &context.plots)?;
    }
    Ok(())
}

/// A row that fails says why, and the run goes on.
fn one(context: &mut Context, row: &Row) -> Section {
    context.begin(row.share_s);
    context.progress(&format!("{}: {}", row.name, row.what));
    let before = Usage::now();
    let mut lines = (row.run)(context)
        .unwrap_or_else(|error| vec![Line::not_measured(row.what, &format!("{error:#}"))]);
    if let Some(cut) = context.cut() {
        for line in &mut lines {
            line.notes.push(cut.clone());
        }
    }
    Section {
        name: row.name,
        lines,
        shares: Usage::now().since(&before),
    }
}

/// Every ratio with a target.
fn ratios(sections: &[Section]) -> Option<Plot> {
    let lines = sections.iter().flat_map(|section| &section.lines);
    let targets: Vec<Target> = lines
        .filter_map(|line| {
            Some(Target {
                name: line.short.to_owned(),
                value: line.ratio?,
                limit: line.limit?,
            })
        })
        .collect();
    (!targets.is_empty()).then(|| Plot {
        file: "targets".to_owned(),
        title: "Ratios to the bare loop in units of their targets".to_owned(),
        axes: (
            "1 is the target, to its left is better; bar: median, line: smallest and largest round"
                .to_owned(),
            String::new(),
        ),
        shape: Shape::Targets(targets),
    })
}

fn list() {
    for row in ROWS {
        say!("{:12} {}", row.name, row.what);
    }
}
