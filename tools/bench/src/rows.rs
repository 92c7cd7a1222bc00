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

use anyhow::{Context as _, Result, bail};
use chorus_telemetry::say;

use crate::Options;
use crate::report;
use crate::sys;
use crate::sys::usage::{Shares, Usage};

pub(crate) use context::Context;
pub(crate) use line::{Line, Met};

/// What of Chorus is measured, and how.
struct Row {
    name: &'static str,
    what: &'static str,
    /// Its share of the time when all run, in seconds.
    share_s: u64,
    run: fn(&mut Context) -> Result<Vec<Line>>,
}

const fn row(
    name: &'static str,
    what: &'static str,
    share_s: u64,
    run: fn(&mut Context) -> Result<Vec<Line>>,
) -> Row {
    Row {
        name,
        what,
        share_s,
        run,
    }
}

/// Every row. Their shares of the time are 15 minutes together.
const ROWS: &[Row] = &[
    row(
        "fanout",
        "one comment a frame beside W, U and the peers",
        125,
        fanout::single,
    ),
    row(
        "batched",
        "1,000 comments/s, default batching",
        42,
        fanout::batched,
    ),
    row(
        "latency",
        "post to another viewer, idle and busy",
        15,
        latency::at_rest_and_busy,
    ),
    row("streams", "1,000 streams of 10 viewers", 60, streams::many),
    row("tls", "one comment a frame over TLS 1.3", 42, fanout::tls),
    row("idle", "memory of an idle connection", 45, idle::memory),
    row(
        "component",
        "the session component beside its native core",
        30,
        component::beside_native,
    ),
    row("durable", "CPU of a durable post", 60, durable::post),
    row(
        "synced",
        "durable posts, `sync_interval: always`",
        40,
        durable::synced,
    ),
    row(
        "hot",
        "one stream at 10,000 comments/s for a minute",
        90,
        durable::hot,
    ),
    row("react", "5,000 reactions/s", 35, react::flood),
    row("connect", "a new connection", 95, connect::anonymous),
    row(
        "slow",
        "10 % of the viewers stop reading",
        45,
        slow::readers,
    ),
    row("wire", "bytes a comment on the wire", 35, wire::bytes),
    row(
        "scale",
        "cost a delivery at 1,000, 5,000 and 15,000",
        100,
        scale::flat,
    ),
    row("restart", "PoP restart to ready", 8, restart::to_ready),
];

/// What a row has to say, and how busy the machine was meanwhile.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) lines: Vec<Line>,
    /// Of the machine, while it ran.
    pub(crate) shares: Shares,
}

/// Runs the rows of some names (all rows within their shares of the time without) and reports.
pub(crate) fn run(options: &Options, names: Option<&[String]>) -> Result<()> {
    if names.is_some_and(<[String]>::is_empty) {
        for row in ROWS {
            say!("{:12} {}", row.name, row.what);
        }
        return Ok(());
    }
    let of_name = |name: &String| ROWS.iter().find(|row| row.name == name);
    let rows: Vec<&Row> = match names {
        None => ROWS.iter().collect(),
        Some(names) => (names.iter())
            .map(|name| of_name(name).with_context(|| format!("there is no row {name:?}")))
            .collect::<Result<_>>()?,
    };
    if !sys::has_core(sys::SERVER_CORE) || !sys::has_core(sys::LOAD_CORE) {
        bail!("this needs two cores: one for the server, one for the load");
    }
    let before = Usage::now();
    let mut machine = report::Machine::look();
    sys::pin_self(sys::LOAD_CORE);
    let files = sys::raise_files(40_000);
    let mut context = Context::new(options.clone(), names.is_none());
    context.progress(&format!("{}; {files} files", machine.line));
    if options.url.is_some() {
        context.progress(
            "with --url batching, limits and TLS are the PoP's own: rows that want others measure what is there",
        );
    }
    if let Some(before) = &options.before {
        return pairs::run(options, before, &rows);
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
    let whole = names.is_none();
    let out = options
        .out
        .as_deref()
        .or(whole.then_some(Path::new("docs")));
    if let Some(out) = out {
        let run = report::Run {
            command: match (whole, options.rounds) {
                (true, 0) => "make bench".to_owned(),
                (true, rounds) => format!("chorus-bench all --rounds {rounds}"),
                (false, _) => "chorus-bench row".to_owned(),
            },
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
    let failed = |error| vec![Line::not_measured(row.what, format!("{error:#}"))];
    let mut lines = (row.run)(context).unwrap_or_else(failed);
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
