//! `chorus dev`: a real nats-server, an origin and a PoP as the real binaries, on one machine; with `--regions` that many of
//! each, joined into a supercluster.

mod child;
mod config;
mod dir;
mod find;
mod howto;
mod identity;
mod ports;
mod ready;
mod site;
mod stop;
mod watch;

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chorus_telemetry::{complain, say};
use tokio::signal::unix::{Signal, SignalKind, signal};

use child::{Child, Part};
use dir::DataDir;
use find::House;
use identity::Identity;
use site::{Shape, Site};
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
    /// How many nats-servers in each region: 3 keep three copies of each log, on this one disk.
    #[arg(long, default_value_t = 1, value_parser = nodes)]
    nodes: u8,
    /// A network of `chorus wan`: the programs of a region run in its host `REGION`, the PoP in `pop-REGION`; as root, on a
    /// host that reaches them.
    #[arg(long, value_name = "NAME")]
    wan: Option<String>,
    /// Runs a program under another, as `edge-us=perf record`: its key in `pids.json`, the command, split at blanks; may be
    /// repeated.
    #[arg(long, value_name = "KEY=COMMAND")]
    under: Vec<String>,
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

fn nodes(text: &str) -> Result<u8, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("a region has 1 or 3".to_owned()),
    }
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
    Due(usize),
}

async fn dev(args: Args) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let parent = std::os::unix::process::parent_id();
    let house = House::find(args.app.as_deref())?;
    let nats_server = find::nats_server(args.nats_server.as_deref(), &house)?;
    let sites = Site::choose(&Shape {
        regions: args.regions,
        nodes: args.nodes,
        listen: &args.listen,
        wan: args.wan.as_deref(),
    })?;
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
    let nats = sites.iter().flat_map(|site| {
        let nodes = 0..site.ports.nodes.len();
        nodes.map(|node| Part::nats(&dir, site, node, &nats_server))
    });
    let mut waves = [
        nats.collect(),
        parts(&sites, |site| Part::origin(&dir, site, &house)),
        parts(&sites, |site| Part::edge(&dir, site, &house)),
    ];
    child::put_under(waves.iter_mut().flatten(), &args.under)?;
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
            howto::print(&pops, &dir, args.sync);
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
    // Programs to start again, by when.
    let mut due: Vec<(Instant, usize)> = Vec::new();
    loop {
        let end = tokio::select! {
            told = signals.told() => End::Told(told),
            () = parent_gone(args.exit_with_parent, parent) => End::Told("the parent is gone"),
            (index, how) = child::any_exit(children) => End::Died(index, how),
            index = watch.next_restart() => End::StoppedWriting(index),
            code = ended(command) => End::Ran(code),
            () = until(&due) => End::Due(due.remove(0).1),
        };
        let (index, how) = match end {
            End::Ran(code) => return Ok(code),
            End::Told(why) => {
                say!("{why}: stopping");
                return Ok(ExitCode::SUCCESS);
            }
            End::StoppedWriting(index) | End::Due(index) => {
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
        let delay = Duration::from_millis(args.restart_delay_ms);
        due.push((Instant::now() + delay, index));
    }
}

/// Returns when the first is due; never when there is none.
async fn until(due: &[(Instant, usize)]) {
    match due.first() {
        Some((at, _)) => tokio::time::sleep_until((*at).into()).await,
        None => std::future::pending().await,
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
        .env("CHORUS_URL", howto::url(pops[0].1))
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
