//! `chorus load`: connects viewers and posts comments at any PoP, and measures how long a comment takes to the viewers.

mod author;
mod tally;
mod watcher;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chorus_client::protocol::{Encoding, StreamId};
use chorus_client::{Endpoint, Options, Rest};
use chorus_telemetry::say;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Barrier, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use tally::Tally;

/// Connections that are opened at the same time.
const OPENING_MAX: usize = 64;
/// Time after the last post in which deliveries are awaited.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// The same after an interrupt, for deliveries and receipts.
const SETTLE_STOPPED_MAX: Duration = Duration::from_secs(2);
/// The exit code after an interrupt, as in shells.
const INTERRUPTED: u8 = 130;

/// Comments per second of one author by default: well below the 50 messages that a connection may send.
const AUTHOR_RATE: u32 = 20;

/// Options of `chorus load`.
#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// The PoP.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The stream.
    #[arg(long, default_value = "demo")]
    stream: StreamId,
    /// Viewers that only watch.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    viewers: u32,
    /// Connections that post; each has its own user. When absent as many as keep below a connection's message rate.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    authors: Option<u32>,
    /// Comments a second, all authors together.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    rate: u32,
    /// How long, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// How the viewers' messages are encoded.
    #[arg(long, value_enum, default_value_t = Encode::Json)]
    encoding: Encode,
    /// A token for the authors, who are then one user. Without one each gets its own from a PoP in development mode,
    /// in the role `admin`, which is exempt from rate limits.
    #[arg(long, env = "CHORUS_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Args {
    fn posts_max(&self) -> u64 {
        u64::from(self.rate) * u64::from(self.seconds)
    }

    fn authors(&self) -> u32 {
        self.authors
            .unwrap_or_else(|| self.rate.div_ceil(AUTHOR_RATE).max(2))
    }
}

/// The encodings, and both by turns.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Encode {
    Json,
    Msgpack,
    Both,
}

impl Encode {
    fn of(self, index: u32) -> Encoding {
        match self {
            Self::Json => Encoding::Json,
            Self::Msgpack => Encoding::MsgPack,
            Self::Both => Encoding::ALL[index as usize % 2],
        }
    }
}

/// Runs the load and reports; lost or repeated comments and failed connections make it fail.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    runtime.block_on(load(args))
}

async fn load(args: Args) -> Result<ExitCode> {
    let endpoint = Endpoint::parse(&args.url)?;
    let tally = Arc::new(Tally::new(args.posts_max() as usize));

    say!(
        "opening {} viewers and {} authors at {}",
        args.viewers,
        args.authors(),
        args.url
    );
    let (stop_posting, posting_stopped) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let mut watchers = JoinSet::new();
    let opening = Arc::new(Semaphore::new(OPENING_MAX));
    for index in 0..args.viewers {
        let options = Options {
            encoding: args.encoding.of(index),
            read_buffer_bytes: 4 << 10,
            connect_ms_max: 30_000,
            ..Options::default()
        };
        watchers.spawn(watcher::watch(
            endpoint.clone(),
            args.stream.clone(),
            options,
            Arc::clone(&opening),
            Arc::clone(&tally),
            stopped.clone(),
        ));
    }
    let mut authors = JoinSet::new();
    let mut interrupt = Interrupt::listen()?;
    let mut interrupted = tokio::select! {
        opened = open_authors(&args, &endpoint, &tally, &posting_stopped, &mut authors) => {
            let begin = opened?;
            tokio::select! {
                watching = wait_watching(&tally, &mut watchers, args.viewers) => {
                    watching?;
                    begin.wait().await;
                    false
                }
                () = interrupt.told() => true,
            }
        }
        () = interrupt.told() => true,
    };

    let begun = Instant::now();
    if interrupted {
        say!("interrupted before the first post");
        authors.abort_all();
    } else {
        interrupted = posting(&tally, &mut authors, &mut interrupt, &stop_posting).await?;
    }
    let settled_max = if interrupted {
        SETTLE_STOPPED_MAX
    } else {
        SETTLE_MAX
    };
    settle(&tally, args.viewers, settled_max).await;
    let took = begun.elapsed();
    stop.send_replace(true);
    if interrupted {
        watchers.shutdown().await;
    }
    while let Some(done) = watchers.join_next().await {
        done.context("a viewer broke")?;
    }
    tally.report(args.viewers, took)?;
    Ok(if interrupted {
        ExitCode::from(INTERRUPTED)
    } else {
        tally.verdict(args.viewers)
    })
}

/// Waits for the authors and prints a line per second; returns whether it was interrupted.
async fn posting(
    tally: &Tally,
    authors: &mut JoinSet<Result<()>>,
    interrupt: &mut Interrupt,
    stop_posting: &watch::Sender<bool>,
) -> Result<bool> {
    let begun = Instant::now();
    let mut interrupted = false;
    let mut each_second = tokio::time::interval(Duration::from_secs(1));
    each_second.tick().await;
    loop {
        tokio::select! {
            done = authors.join_next() => match done {
                Some(Ok(Ok(()))) => {}
                // The other authors go on; the report has the failure.
                Some(Ok(Err(error))) => {
                    tally.failed(format!("an author broke: {error:#}"));
                    tally.errors.fetch_add(1, Ordering::Relaxed);
                }
                Some(Err(_)) if interrupted => {}
                Some(Err(error)) => return Err(error).context("an author broke"),
                None => return Ok(interrupted),
            },
            () = interrupt.told() => {
                if interrupted {
                    authors.abort_all();
                } else {
                    say!("interrupted: waiting for what is under way; again to stop at once");
                }
                interrupted = true;
                stop_posting.send_replace(true);
            }
            _ = each_second.tick() => say!("{:>5} s  {}", begun.elapsed().as_secs(), tally.progress()),
        }
    }
}

/// Connects the authors, which wait for the returned barrier before they post.
async fn open_authors(
    args: &Args,
    endpoint: &Endpoint,
    tally: &Arc<Tally>,
    stopped: &watch::Receiver<bool>,
    authors: &mut JoinSet<Result<()>>,
) -> Result<Arc<Barrier>> {
    let begin = Arc::new(Barrier::new(args.authors() as usize + 1));
    let posts_max = args.posts_max();
    for (index, token) in tokens(args).await?.into_iter().enumerate() {
        let share = author::Share {
            index: index as u64,
            authors: u64::from(args.authors()),
            rate: u64::from(args.rate),
            posts_max,
        };
        let options = Options::default()
            .token(token)
            .encoding(args.encoding.of(index as u32));
        let author = author::Author::open(endpoint, &args.stream, &options).await?;
        let (begin, tally) = (Arc::clone(&begin), Arc::clone(tally));
        authors.spawn(author.run(share, begin, tally, stopped.clone()));
    }
    Ok(begin)
}

/// SIGINT or SIGTERM.
struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    fn listen() -> Result<Self> {
        let of = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// One token for each author.
async fn tokens(args: &Args) -> Result<Vec<String>> {
    if let Some(token) = &args.token {
        return Ok(vec![token.clone(); args.authors() as usize]);
    }
    let rest = Rest::new(&args.url)?;
    let mut tokens = Vec::new();
    for index in 0..args.authors() {
        let body = serde_json::json!({ "username": format!("load-{index}"), "role": "admin" });
        let response = rest.post("/api/dev/token", &body).await?;
        if response.status != 200 && response.status != 201 {
            bail!(
                "this PoP gives no development tokens ({}): name one with --token",
                response.status
            );
        }
        let token = response.json()?;
        let token = token["token"]
            .as_str()
            .context("an answer without a token")?;
        tokens.push(token.to_owned());
    }
    Ok(tokens)
}

/// Waits until all viewers have joined or failed. An error when none has joined.
async fn wait_watching(tally: &Tally, watchers: &mut JoinSet<()>, viewers: u32) -> Result<()> {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        let (watching, broken) = tally.opened();
        if watching + broken >= u64::from(viewers) || watchers.is_empty() {
            say!(
                "{watching} watch, {broken} could not, after {} ms",
                begun.elapsed().as_millis()
            );
            if watching == 0 {
                bail!("no viewer could join: {}", tally.first_failure());
            }
            return Ok(());
        }
        tick.tick().await;
    }
}

/// Waits until every viewer has seen every durable comment, at most for `within`.
async fn settle(tally: &Tally, viewers: u32, within: Duration) {
    let deadline = Instant::now() + within;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    while !tally.complete(viewers) && Instant::now() < deadline {
        tick.tick().await;
    }
}
