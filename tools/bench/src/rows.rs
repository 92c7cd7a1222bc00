//! The rows of the table, what they share, and the run over all of them.

mod cast;
mod component;
mod connect;
mod context;
mod durable;
mod fanout;
mod idle;
mod latency;
mod line;
mod measure;
mod pairs;
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
use crate::report;
use crate::sys;
use crate::sys::usage::{Shares, Usage};

pub(crate) use context::{Context, Length};
pub(crate) use line::{Line, Met};

/// A row's name, what it answers, its share of the time in the full and in the quick run, in seconds, and how it does.
type Row = (&'static str, &'static str, (u64, u64), Run);
type Run = fn(&mut Context) -> Result<Vec<Line>>;

/// Every row. The shares of the full run are 13 minutes together, those of the quick one 3, less what it takes to
/// end. The quick run leaves out what has no share in it.
const ROWS: &[Row] = &[
    (
        "fanout",
        "one comment a frame, 1,000 viewers: CPU a delivery beside W, U and the peers, post to all",
        (125, 24),
        fanout::single,
    ),
    (
        "batched",
        "1,000 comments/s to 1,000 viewers, default batching",
        (42, 9),
        fanout::batched,
    ),
    (
        "latency",
        "post to another viewer, idle and at 1,000 comments/s",
        (15, 7),
        latency::at_rest_and_busy,
    ),
    (
        "streams",
        "1,000 streams of 10 viewers, a comment/s each",
        (60, 15),
        streams::many,
    ),
    (
        "tls",
        "one comment a frame over TLS 1.3",
        (42, 10),
        fanout::tls,
    ),
    (
        "idle",
        "memory of an idle connection",
        (45, 10),
        idle::memory,
    ),
    (
        "component",
        "the session component beside its native core",
        (30, 8),
        component::beside_native,
    ),
    ("durable", "CPU of a durable post", (60, 12), durable::post),
    (
        "synced",
        "durable posts with `sync_interval: always`",
        (40, 0),
        durable::synced,
    ),
    ("react", "5,000 reactions/s", (35, 7), react::flood),
    ("connect", "a new connection", (95, 14), connect::anonymous),
    (
        "slow",
        "10 % of the viewers stop reading",
        (45, 26),
        slow::readers,
    ),
    ("wire", "bytes a comment on the wire", (35, 12), wire::bytes),
    (
        "scale",
        "cost a delivery at 1,000, 5,000 and 15,000 viewers",
        (100, 20),
        scale::flat,
    ),
    ("restart", "PoP restart to ready", (8, 3), restart::to_ready),
];

/// What a row has to say, and how busy the machine was meanwhile.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) lines: Vec<Line>,
    /// Of the machine, while it ran.
    pub(crate) shares: Shares,
}

/// Runs some rows, or all, and reports.
pub(crate) fn run(options: &Options, length: Length, names: &[String]) -> Result<()> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !ROWS.iter().any(|row| row.0 == name.as_str()))
    {
        list();
        bail!("there is no row {unknown:?}");
    }
    if length == Length::Chosen && names.is_empty() {
        list();
        return Ok(());
    }
    if !sys::has_core(sys::SERVER_CORE) || !sys::has_core(sys::LOAD_CORE) {
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
    let rows = ROWS.iter().filter(|(name, _, (_, quick_s), _)| {
        let wanted = names.is_empty() || names.iter().any(|wanted| wanted == name);
        let no_time = length == Length::Quick && *quick_s == 0;
        wanted && !no_time
    });
    if let Some(before) = &options.before {
        return pairs::run(options, before, &rows.collect::<Vec<_>>());
    }
    let mut sections = Vec::new();
    for row in rows {
        let section = one(&mut context, row);
        for line in &section.lines {
            say!("{}", report::plain(line));
        }
        sections.push(section);
    }
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
fn one(context: &mut Context, (name, what, share_s, run): &Row) -> Section {
    context.begin(*share_s);
    context.progress(&format!("{name}: {what}"));
    let before = Usage::now();
    let failed = |error| vec![Line::not_measured(*what, format!("{error:#}"))];
    let mut lines = run(context).unwrap_or_else(failed);
    if let Some(cut) = context.cut() {
        for line in &mut lines {
            line.notes.push(cut.clone());
        }
    }
    Section {
        name,
        lines,
        shares: Usage::now().since(&before),
    }
}

fn list() {
    for (name, what, ..) in ROWS {
        say!("{name:12} {what}");
    }
}
