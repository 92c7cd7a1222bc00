//! `chorus dev`: a real nats-server, an origin and a PoP as the real binaries, on one machine; with `--regions` that many of
//! each, joined into a supercluster.

mod child;
mod config;
mod dir;
mod find;
mod identity;
mod ports;
mod ready;
mod site;
mod stop;
mod watch;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chorus_telemetry::{complain, say};
use tokio::signal::unix::{Signal, SignalKind, signal};

use child::{Child, Part};
use dir::DataDir;
use find::House;
use identity::Identity;
use site::Site;
use watch::Watch;

/// Options of `chorus dev`.
#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// Where viewers connect: an address or a name, and a port; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// How many regions, each with a nats-server, an origin and a PoP; the PoPs of the others listen at the ports behind.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(site::REGIONS_MAX)))]
    regions: u8,
    /// Where everything is kept.
    #[arg(long, env = "CHORUS_DATA", default_value = ".chorus")]
    data: PathBuf,
    /// First remove what an earlier `chorus dev` kept there.
    #[arg(long)]
    reset: bool,
    /// Cores of the PoP, each with its own session component; the PoP decides when absent.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16))]
    shards: Option<u8>,
    /// A value of the PoP's configuration, as `limits.comments_per_minute=600`; may be repeated.
    #[arg(long = "edge-set", value_name = "KEY=VALUE")]
    edge_set: Vec<String>,
    /// A value of the origin's configuration, as `gateway.newest_max=10`; may be repeated.
    #[arg(long = "origin-set", value_name = "KEY=VALUE")]
    origin_set: Vec<String>,
    /// The application to run: a `spin.toml` with a `websocket` trigger; the checkout's own when absent.
    #[arg(long, value_name = "SPIN_TOML")]
    app: Option<PathBuf>,
    /// The nats-server to run; looked for when absent.
    #[arg(long, env = "CHORUS_NATS_SERVER")]
    nats_server: Option<PathBuf>,
    /// When nats-server syncs what it stores to disk. With `always` a durable comment survives a loss of power, at the
    /// price of a sync for each.
    #[arg(long, value_enum, default_value_t = Sync::ServerDefault)]
    sync: Sync,
    /// What to do when one of the programs ends by itself.
    #[arg(long, value_enum, default_value_t = OnExit::Stop)]
    on_exit: OnExit,
    /// How long to wait before starting it again, with `--on-exit restart`.
    #[arg(long, default_value_t = 1_000)]
    restart_delay_ms: u64,
    /// Stop when the program that started this one is gone.
    #[arg(long)]
    exit_with_parent: bool,
    /// Show the programs' logs here instead of keeping them in files.
    #[arg(long)]
    verbose: bool,
    /// A command to run once all is ready, with `CHORUS_URL` in its environment; everything stops when it ends, with
    /// its exit code.
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// When nats-server syncs; the words are those of the origin's `nats.sync`.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sync {
    /// Every two minutes.
    ServerDefault,
    /// Before it says that a message is stored.
    Always,
}

/// What to do when a program ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnExit {
    /// Say so and stop everything.
    Stop,
    /// Say so and start it again.
    Restart,
}

/// Interval at which the parent process is checked.
const PARENT_POLL: Duration = Duration::from_millis(250);

/// Runs until it is told to stop.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    // A single thread, because the kernel ends the children with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(dev(args))
}

/// Events that end the run or restart a program.
enum End {
    Told(&'static str),
    Died(usize, String),
    StoppedWriting(usize),
    Ran(ExitCode),
}

async fn dev(args: Args) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let parent = std::os::unix::process::parent_id();
    let house = House::find(args.app.as_deref())?;
    let nats_server = find::nats_server(args.nats_server.as_deref(), &house)?;
    let sites = Site::choose(args.regions, &args.listen)?;
    let dir = DataDir::open(&args.data, args.reset)?;
    let identity = Identity::open(&dir)?;
    let plan = config::Plan {
        dir: &dir,
        house: &house,
        identity: &identity,
        shards: args.shards,
        sync: args.sync,
        sites: &sites,
    };
    for site in &sites {
        dir.prepare(site)?;
        config::write(&plan, site, &args.edge_set, &args.origin_set)?;
    }
    // The nats-servers need each other to be ready, then the origins can begin, then the PoPs.
    let waves = [
        parts(&sites, |site| Part::nats(&dir, site, &nats_server)),
        parts(&sites, |site| Part::origin(&dir, site, &house)),
        parts(&sites, |site| Part::edge(&dir, site, &house)),
    ];
    let pops: Vec<(&str, SocketAddr)> = sites
        .iter()
        .map(|site| (site.region, site.listen))
        .collect();
    sites.into_iter().for_each(Site::release);
    let mut children: Vec<Child> = Vec::new();
    let started = tokio::select! {
        result = start_all(&args, &dir, waves, &mut children) => result.map(|()| None),
        told = signals.told() => Ok(Some(told)),
        () = parent_gone(args.exit_with_parent, parent) => Ok(Some("the parent is gone")),
    };
    let outcome = match started {
        Err(error) => Err(error),
        Ok(Some(told)) => {
            say!("{told}: stopping");
            Ok(ExitCode::SUCCESS)
        }
        Ok(None) => {
            print_how_to(&pops, &dir, args.sync);
            match command(&args.command, &pops) {
                Ok(mut ran) => {
                    serve(&args, &dir, parent, &mut signals, &mut children, &mut ran).await
                }
                Err(error) => Err(error),
            }
        }
    };
    tokio::select! {
        () = stop::in_order(&mut children) => {}
        _ = signals.told() => {
            say!("told again: not waiting any longer");
            stop::at_once(&mut children).await;
        }
    }
    dir.forget_pids();
    outcome
}

fn parts(sites: &[Site], part: impl Fn(&Site) -> Part) -> Vec<Part> {
    sites.iter().map(part).collect()
}

/// Starts the programs of each wave at once, and waits until they are ready.
async fn start_all(
    args: &Args,
    dir: &DataDir,
    waves: [Vec<Part>; 3],
    children: &mut Vec<Child>,
) -> Result<()> {
    for wave in waves {
        let begun = Instant::now();
        let first = children.len();
        for part in wave {
            children.push(Child::spawn(part, dir, args.verbose)?);
        }
        dir.write_pids(children)?;
        for child in &mut children[first..] {
            ready::wait(child).await?;
            say!(
                "  {:<16} ready after {} ms",
                child.part.name,
                begun.elapsed().as_millis()
            );
        }
    }
    Ok(())
}

async fn serve(
    args: &Args,
    dir: &DataDir,
    parent: u32,
    signals: &mut Signals,
    children: &mut [Child],
    command: &mut Option<tokio::process::Child>,
) -> Result<ExitCode> {
    let mut watch = Watch::new(dir, children.iter().map(|child| &child.part));
    loop {
        let end = tokio::select! {
            told = signals.told() => End::Told(told),
            () = parent_gone(args.exit_with_parent, parent) => End::Told("the parent is gone"),
            (index, how) = child::any_exit(children) => End::Died(index, how),
            index = watch.next_restart() => End::StoppedWriting(index),
            code = ended(command) => End::Ran(code),
        };
        let (index, how) = match end {
            End::Ran(code) => return Ok(code),
            End::Told(why) => {
                say!("{why}: stopping");
                return Ok(ExitCode::SUCCESS);
            }
            End::StoppedWriting(index) => {
                start_again(args, dir, children, index).await?;
                continue;
            }
            End::Died(index, how) => (index, how),
        };
        let name = children[index].part.name.clone();
        complain!(
            "chorus: {name} ended by itself ({how})\n{}",
            children[index].log_tail()
        );
        if args.on_exit == OnExit::Stop {
            bail!(
                "{name} is gone: stopping everything (`--on-exit restart` starts it again instead)"
            );
        }
        tokio::select! {
            told = signals.told() => {
                say!("{told}: stopping");
                return Ok(ExitCode::SUCCESS);
            }
            () = tokio::time::sleep(Duration::from_millis(args.restart_delay_ms)) => {}
        }
        start_again(args, dir, children, index).await?;
    }
}

/// Stops a program if it is running, and starts it.
async fn start_again(
    args: &Args,
    dir: &DataDir,
    children: &mut [Child],
    index: usize,
) -> Result<()> {
    stop::in_order(&mut children[index..=index]).await;
    let part = children[index].part.clone();
    let name = part.name.clone();
    children[index] = Child::spawn(part, dir, args.verbose)?;
    if let Err(error) = dir.write_pids(children) {
        // The file keeps the old process id; the programs go on.
        complain!("chorus: {error:#}");
    }
    say!("{name} started again as process {}", children[index].pid);
    Ok(())
}

/// Starts the command to run while all programs are up; `None` when there is none.
fn command(
    words: &[OsString],
    pops: &[(&str, SocketAddr)],
) -> Result<Option<tokio::process::Child>> {
    let Some((program, args)) = words.split_first() else {
        return Ok(None);
    };
    let started = tokio::process::Command::new(program)
        .args(args)
        .env("CHORUS_URL", url(pops[0].1))
        .kill_on_drop(true)
        .spawn();
    started
        .map(Some)
        .with_context(|| format!("cannot run {}", program.display()))
}

/// Waits for the end of the command; returns its exit code. Never returns when there is no command.
async fn ended(command: &mut Option<tokio::process::Child>) -> ExitCode {
    let Some(command) = command else {
        return std::future::pending().await;
    };
    match command.wait().await.ok().and_then(|status| status.code()) {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        // The command was ended by a signal.
        None => ExitCode::FAILURE,
    }
}

/// Returns when the parent process has ended; never when `asked` is false.
async fn parent_gone(asked: bool, parent: u32) {
    if !asked {
        std::future::pending::<()>().await;
    }
    while std::os::unix::process::parent_id() == parent {
        tokio::time::sleep(PARENT_POLL).await;
    }
}

/// Resolves `listen` and reserves the address until the listener is dropped; for port 0 a free port. Of a name's addresses
/// the first that can be listened on is used, IPv4 before IPv6. An address in use is an error.
fn free_listen(listen: &str) -> Result<(SocketAddr, TcpListener)> {
    let refused = || format!("cannot listen on {listen}; choose another address with --listen");
    let found = listen.to_socket_addrs().with_context(|| {
        format!("--listen {listen}: give an address or a name, and a port, as localhost:8080")
    })?;
    let mut addresses: Vec<SocketAddr> = found.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let mut refusal = None;
    for address in addresses {
        let listener = if address.port() == 0 {
            ports::reserve_tcp(address.ip())
        } else {
            TcpListener::bind(address).map_err(anyhow::Error::from)
        };
        match listener {
            Ok(listener) => return Ok((listener.local_addr()?, listener)),
            Err(error) => {
                refusal.get_or_insert(error);
            }
        }
    }
    Err(refusal
        .unwrap_or_else(|| anyhow::anyhow!("the name has no address"))
        .context(refused()))
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let of = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
            hangup: of(SignalKind::hangup())?,
        })
    }

    async fn told(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "terminated",
            _ = self.hangup.recv() => "the terminal is gone",
        }
    }
}

/// The address at which this machine reaches a listener: loopback for an unspecified address.
pub(crate) fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if !ip.is_unspecified() => listen,
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port())),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, listen.port())),
    }
}

/// This program as a shell in the current directory calls it.
fn invoked() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&program);
    // A name without a path was found in PATH; a path is repeated as typed.
    let shown = name.display().to_string();
    if shown.contains([' ', '\'', '"', '$', '\\']) {
        format!("'{}'", shown.replace('\'', "'\\''"))
    } else {
        shown
    }
}

fn url(listen: SocketAddr) -> String {
    format!("http://{}", reachable(listen))
}

fn print_how_to(pops: &[(&str, SocketAddr)], dir: &DataDir, sync: Sync) {
    let [(_, listen), others @ ..] = pops else {
        return;
    };
    let url = url(*listen);
    let regions = if others.is_empty() {
        String::new()
    } else {
        let of = |(region, listen): &(&str, SocketAddr)| {
            format!("\n  {region:<10}  http://{}/", reachable(*listen))
        };
        format!(
            "\n  Each region has its own page; what is written in one is seen in all:{}\n",
            pops.iter().map(of).collect::<String>()
        )
    };
    let chorus = invoked();
    let durable = match sync {
        Sync::ServerDefault => {
            "survives the kill of every process. It does not survive a loss of power: one node, and
  nats-server syncs to disk every two minutes; --sync always changes that."
        }
        Sync::Always => {
            "survives the kill of every process and a loss of power, not the loss of the disk."
        }
    };
    say!(
        "
Chorus is at {url}/

  Open it in two windows: both are on the stream `demo`.
{regions}  A token     curl -s -X POST {url}/api/dev/token -H 'content-type: application/json' -d '{{\"username\":\"ada\"}}'
  History     curl -s '{url}/api/streams/demo/comments?limit=20'
  Metrics     curl -s {url}/metrics
  Load        {chorus} load --url {url} --viewers 200 --rate 50

  Data        {} (logs and process ids are there too; --reset clears it)
  `durable` here means: {durable}

  Ctrl-C stops everything.",
        dir.path().display()
    );
}
