//! What rows share: the options, the stack, and the time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use chorus_telemetry::complain;
use toml::Table;

use super::measure::{Measured, Series};
use crate::Options;
use crate::load::Engine;
use crate::plot::Plot;
use crate::stack::{Pop, Stack, Sync, Wish};

/// The longest a row may take that was asked for by name or with a number of rounds.
const ROW_MAX: Duration = Duration::from_secs(600);
/// Rounds of each side when no number is asked for.
const ROUNDS: usize = 5;
/// How long one round of one side lasts.
pub(super) const DURING: Duration = Duration::from_secs(2);

/// A row's share of the time.
#[derive(Clone, Debug)]
struct Share {
    begun: Instant,
    length: Duration,
    cut: Option<String>,
}

/// What rows share.
pub(crate) struct Context {
    /// The command's options.
    pub(crate) options: Options,
    /// Rows keep to their shares of the time.
    shared: bool,
    start: Instant,
    share: Share,
    stack: Option<Stack>,
    streams: usize,
    /// What is drawn.
    pub(crate) plots: Vec<Plot>,
}

impl Context {
    /// Nothing started yet.
    pub(crate) fn new(options: Options, shared: bool) -> Self {
        let now = Instant::now();
        Self {
            options,
            shared,
            start: now,
            share: Share {
                begun: now,
                length: ROW_MAX,
                cut: None,
            },
            stack: None,
            streams: 0,
            plots: Vec::new(),
        }
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Begins a row with its share of the time.
    pub(crate) fn begin(&mut self, share_s: u64) {
        let length = if self.shared && self.options.rounds == 0 {
            Duration::from_secs(share_s)
        } else {
            ROW_MAX
        };
        self.share = Share {
            begun: Instant::now(),
            length,
            cut: None,
        };
    }

    /// What the row's share of the time did not suffice for.
    pub(crate) fn cut(&mut self) -> Option<String> {
        self.share.cut.take()
    }

    /// What is left of the row's share of the time.
    pub(crate) fn left(&self) -> Duration {
        (self.share.length).saturating_sub(self.share.begun.elapsed())
    }

    /// Connections that give up when the row's share of the time is over.
    pub(crate) fn engine(&self) -> Result<Engine> {
        Engine::until(self.share.begun + self.share.length)
    }

    /// Rounds of each side.
    pub(super) fn rounds(&self) -> usize {
        match self.options.rounds {
            0 => ROUNDS,
            rounds => rounds,
        }
    }

    /// Rounds of some sides in turn: `round` runs one of each, lasting so long. The first is always tried; the others
    /// only when the row's share of the time suffices for one as long as those before.
    pub(super) fn interleave<const N: usize>(
        &mut self,
        what: &str,
        wanted: usize,
        mut round: impl FnMut(Duration) -> Result<[Measured; N]>,
    ) -> Result<[Series; N]> {
        let mut sides = [const { Series(Vec::new()) }; N];
        let begun = Instant::now();
        for done in 0..wanted.max(1) {
            let one = begun.elapsed() / u32::try_from(done.max(1))?;
            if done > 0 && one > self.left() {
                let length = self.share.length.as_secs();
                self.share.cut = Some(format!(
                    "{done} of {wanted} rounds: the row's {length} s were over"
                ));
                break;
            }
            self.progress(&format!("{what}: round {} of {wanted}", done + 1));
            for (side, measured) in sides.iter_mut().zip(round(DURING)?) {
                side.0.push(measured);
            }
        }
        Ok(sides)
    }

    /// A PoP as a row wishes it: the one given, or one of the bench's own, which takes tokens of these keys too.
    pub(super) fn pop_with_keys(&mut self, wish: Wish, keys: Vec<Table>) -> Result<Pop> {
        let Some(url) = &self.options.url else {
            return self.stack()?.pop(wish, keys);
        };
        let pid = self.options.pid;
        let pid = pid.context("--url needs --pid for its CPU and memory")?;
        let tokens = match &self.options.tokens {
            Some(path) => std::fs::read_to_string(path)?,
            None => String::new(),
        };
        let pop = Pop::given(url, pid, tokens.lines().map(str::to_owned).collect())?;
        if wish.tls && pop.tls.is_none() {
            bail!("the PoP of --url speaks no TLS");
        }
        Ok(pop)
    }

    pub(super) fn pop(&mut self, wish: Wish) -> Result<Pop> {
        self.pop_with_keys(wish, Vec::new())
    }

    /// The stack behind the bench's own PoPs.
    pub(crate) fn stack(&mut self) -> Result<&mut Stack> {
        if self.options.url.is_some() {
            bail!("it needs the log and the gateway, which --url does not name");
        }
        if self.stack.is_none() {
            self.progress("starting NATS and an origin");
            self.stack = Some(Stack::start(&self.options, Sync::ServerDefault)?);
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
        let numbers = self.streams..self.streams + count;
        self.streams = numbers.end;
        let names: Vec<String> = numbers.map(|number| format!("bench-{number}")).collect();
        self.stack()?.create_streams(&names)?;
        Ok(names)
    }

    /// One of them.
    pub(super) fn stream(&mut self) -> Result<String> {
        Ok(self.streams(1)?.remove(0))
    }

    /// A line for who waits.
    pub(crate) fn progress(&self, what: &str) {
        complain!("[{:4.0} s] {what}", self.start.elapsed().as_secs_f64());
    }
}
