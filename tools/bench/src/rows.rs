//! The rows of the table, what they share, and the run over all of them.

mod calibrate;
mod cast;
mod component;
mod connect;
mod durable;
mod fanout;
mod idle;
pub(crate) mod measure;
mod react;
mod restart;
mod scale;
mod slow;
mod streams;
mod wire;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::Options;
use crate::plot::{Bar, Plot, Shape};
use crate::report;
use crate::stack::{Pop, Stack, Wish};
use crate::stats::Spread;
use crate::sys;

/// How long the whole may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// At most 15 minutes.
    Full,
    /// At most 3 minutes.
    Quick,
}

/// Whether a target was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// It was.
    Yes,
    /// It was not.
    No,
    /// There is none: the line is a fact to compare with.
    Fact,
    /// It was not measured.
    NotMeasured,
}

impl Met {
    /// Whether a value is within its limit.
    pub(crate) fn when(reached: bool) -> Self {
        if reached { Self::Yes } else { Self::No }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// What was measured.
    pub(crate) what: String,
    /// What it should be.
    pub(crate) target: String,
    /// What it is.
    pub(crate) measured: String,
    /// What it is compared with.
    pub(crate) beside: String,
    /// The ratio of both, round by round.
    pub(crate) ratio: Option<Spread>,
    /// What the ratio may be.
    pub(crate) limit: Option<f64>,
    /// Whether the target was reached.
    pub(crate) met: Met,
    /// What else must be said.
    pub(crate) notes: Vec<String>,
}

impl Line {
    /// A line for what could not be measured.
    pub(crate) fn not_measured(what: &str, why: &str) -> Self {
        Self {
            what: what.to_owned(),
            target: "—".to_owned(),
            measured: "not measured".to_owned(),
            beside: "—".to_owned(),
            ratio: None,
            limit: None,
            met: Met::NotMeasured,
            notes: vec![why.to_owned()],
        }
    }
}

/// What rows share.
pub(crate) struct Context {
    /// The command's options.
    pub(crate) options: Options,
    length: Length,
    start: Instant,
    stack: Option<Stack>,
    streams: usize,
    /// What is drawn.
    pub(crate) plots: Vec<Plot>,
}

impl Context {
    /// Rounds of each side.
    pub(crate) fn rounds(&self) -> usize {
        match (self.options.rounds, self.length) {
            (0, Length::Full) => 5,
            (0, Length::Quick) => 2,
            (rounds, _) => rounds,
        }
    }

    /// How long one round of one side lasts.
    pub(crate) fn during(&self) -> Duration {
        match self.length {
            Length::Full => Duration::from_millis(2_000),
            Length::Quick => Duration::from_millis(700),
        }
    }

    /// Whether it is the short form.
    pub(crate) fn is_quick(&self) -> bool {
        self.length == Length::Quick
    }

    /// A PoP as a row wishes it: the one given, or one of the bench's own.
    pub(crate) fn pop(&mut self, wish: Wish) -> Result<Pop> {
        if let Some(url) = &self.options.url {
            let pid = self
                .options
                .pid
                .context("--url needs --pid for its CPU and memory")?;
            let tokens = match &self.options.tokens {
                Some(path) => std::fs::read_to_string(path)?
                    .lines()
                    .map(str::to_owned)
                    .collect(),
                None => Vec::new(),
            };
            return Pop::given(url, pid, tokens);
        }
        self.stack()?.pop(wish)
    }

    /// The stack behind the bench's own PoPs.
    pub(crate) fn stack(&mut self) -> Result<&mut Stack> {
        if self.options.url.is_some() {
            bail!("it needs the log and the gateway, which --url does not name");
        }
        if self.stack.is_none() {
            self.progress("starting NATS and an origin");
            self.stack = Some(Stack::start(&self.options)?);
        }
        self.stack.as_mut().context("no stack")
    }

    /// Names of `count` streams nobody has used before; with `--url` there is one.
    pub(crate) fn streams(&mut self, count: usize) -> Result<Vec<String>> {
        if self.options.url.is_some() {
            if count > 1 {
                bail!("it needs {count} streams, and with --url there is one");
            }
            return Ok(vec![self.options.stream.clone()]);
        }
        let first = self.streams;
        self.streams += count;
        let names: Vec<String> = (first..first + count)
            .map(|number| format!("bench-{number}"))
            .collect();
        self.stack()?.create_streams(&names)?;
        Ok(names)
    }

    /// A line for who waits.
    pub(crate) fn progress(&self, what: &str) {
        eprintln!("[{:4.0} s] {what}", self.start.elapsed().as_secs_f64());
    }
}

type Row = fn(&mut Context) -> Result<Vec<Line>>;

/// Every row, by name, with what it answers.
const ROWS: &[(&str, &str, Row)] = &[
    (
        "limits",
        "W, U and the seal on this machine",
        calibrate::limits,
    ),
    (
        "fanout",
        "one comment a frame, 1,000 viewers: CPU a delivery, post to all",
        fanout::single,
    ),
    (
        "batched",
        "1,000 comments/s to 1,000 viewers, default batching",
        fanout::batched,
    ),
    (
        "latency",
        "post to another viewer, idle and at 1,000 comments/s",
        fanout::latency,
    ),
    (
        "streams",
        "1,000 streams of 10 viewers, a comment/s each",
        streams::many,
    ),
    ("tls", "one comment a frame over TLS 1.3", fanout::tls),
    ("idle", "memory of an idle connection", idle::memory),
    (
        "component",
        "the session component beside its native core",
        component::beside_native,
    ),
    ("durable", "CPU of a durable post", durable::post),
    ("react", "5,000 reactions/s", react::flood),
    ("connect", "a new connection", connect::anonymous),
    ("slow", "10 % of the viewers stop reading", slow::readers),
    ("wire", "bytes a comment on the wire", wire::bytes),
    (
        "scale",
        "cost a delivery at 1,000, 5,000 and 15,000 viewers",
        scale::flat,
    ),
    ("restart", "PoP restart to ready", restart::to_ready),
    (
        "peers",
        "nchan, nats-server, node ws beside W",
        calibrate::peers,
    ),
];

/// Runs some rows, or all, and reports.
pub(crate) fn run(options: &Options, length: Length, names: &[String]) -> Result<()> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !ROWS.iter().any(|(row, _, _)| row == name))
    {
        list();
        bail!("there is no row {unknown:?}");
    }
    if sys::cores() < 2 || !sys::has_core(sys::SERVER_CORE) || !sys::has_core(sys::LOAD_CORE) {
        bail!("this needs two cores: one for the server, one for the load");
    }
    let machine = report::Machine::look();
    sys::pin_self(sys::LOAD_CORE);
    let files = sys::raise_files(40_000);
    let mut context = Context {
        options: options.clone(),
        length,
        start: Instant::now(),
        stack: None,
        streams: 0,
        plots: Vec::new(),
    };
    context.progress(&format!("{}; {files} files", machine.line));
    let mut sections = Vec::new();
    for (name, what, row) in ROWS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name)
            || options.no_peers && *name == "peers"
        {
            continue;
        }
        context.progress(&format!("{name}: {what}"));
        let lines = row(&mut context)
            .unwrap_or_else(|error| vec![Line::not_measured(what, &format!("{error:#}"))]);
        for line in &lines {
            println!("{}", report::plain(line));
        }
        sections.push(((*name).to_owned(), lines));
    }
    context.plots.splice(0..0, ratios(&sections));
    let took = context.start.elapsed();
    let whole = names.is_empty() && length == Length::Full;
    let out = options
        .out
        .as_deref()
        .or(whole.then_some(Path::new("docs")));
    if let Some(out) = out {
        report::write(out, &machine, took, &sections, &context.plots)?;
    }
    Ok(())
}

/// Every ratio with a target, and every fact in units of W, as bars.
fn ratios(sections: &[(String, Vec<Line>)]) -> Vec<Plot> {
    let bars_of = |with_limit: bool| -> Vec<Bar> {
        let lines = sections.iter().flat_map(|(_, lines)| lines);
        let chosen = lines.filter(|line| line.limit.is_some() == with_limit);
        chosen
            .filter_map(|line| {
                Some(Bar {
                    name: line
                        .what
                        .split([',', ':', '('])
                        .next()
                        .unwrap_or_default()
                        .trim()
                        .chars()
                        .take(44)
                        .collect(),
                    value: line.ratio?,
                    target: line.limit,
                })
            })
            .collect()
    };
    [
        (
            "targets",
            "Ratios to the bare loop, with their targets",
            true,
        ),
        ("units", "CPU a delivery in units of W", false),
    ]
    .into_iter()
    .map(|(file, title, with_limit)| Plot {
        file: file.to_owned(),
        title: title.to_owned(),
        axes: (
            "ratio (median, with the smallest and the largest round)".to_owned(),
            String::new(),
        ),
        shape: Shape::Bars(bars_of(with_limit)),
    })
    .filter(|plot| matches!(&plot.shape, Shape::Bars(bars) if !bars.is_empty()))
    .collect()
}

fn list() {
    for (name, what, _) in ROWS {
        println!("{name:12} {what}");
    }
}
