//! `chorus-origin`: the roles of a region's origin.

// Both panic when nobody takes what is printed.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use chorus_origin::config::{Config, Role};
use chorus_quic::Pace;
use chorus_telemetry::Format;
use clap::{CommandFactory as _, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often the parent is looked for.
const PARENT: Duration = Duration::from_millis(250);

/// Messages live for milliseconds on many threads; the system's allocator gives their pages back and takes them anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The origin of Chorus: gateway, persist and api over NATS JetStream.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file; demanded.
    #[arg(long, env = "CHORUS_ORIGIN_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Roles of this process, instead of the configuration's.
    #[arg(long, value_delimiter = ',')]
    roles: Option<Vec<Role>>,
    /// How log lines are written; RUST_LOG says which.
    #[arg(long, value_enum, default_value_t)]
    log: Format,
    /// Stop when the process that started this one is gone.
    #[arg(long)]
    exit_with_parent: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Make what the region needs in NATS, or change what differs, and end: an origin does the same when it starts.
    ///
    /// Says first, log by log, what will be created, changed (from → to), left as it is, waited for, or is left over; nothing
    /// else is changed, nothing is deleted, and where NATS cannot make a change nothing is done. May be run again at any time.
    Provision {
        /// Only say it, and change nothing. Ends with 0 when there is nothing to do, with 2 when there is.
        #[arg(long)]
        plan: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(config) = arguments.config.clone() else {
        let missing = clap::error::ErrorKind::MissingRequiredArgument;
        let why = "--config FILE (or CHORUS_ORIGIN_CONFIG) is demanded";
        Arguments::command().error(missing, why).exit();
    };
    // The plan says what is done.
    let which = match arguments.command {
        Some(Command::Provision { .. }) => "error",
        None => "info,async_nats=error",
    };
    let _lines = chorus_telemetry::start(arguments.log, which);
    let done = match arguments.command {
        Some(Command::Provision { plan }) => provision(&config, plan),
        None => serve(&config, arguments).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What `--plan` ends with when there is something to do.
const SOMETHING_TO_DO: u8 = 2;

fn provision(config: &Path, only_plan: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(config, None).with_context(|| format!("{}", config.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let say = |text: &str| {
        // Whoever does not read it has it done all the same.
        let _ = std::io::stdout().write_all(text.as_bytes());
    };
    let to_do = chorus_origin::run::provision_once(&config, only_plan, say);
    let to_do = runtime.block_on(to_do)?;
    Ok(if only_plan && to_do {
        ExitCode::from(SOMETHING_TO_DO)
    } else {
        ExitCode::SUCCESS
    })
}

fn serve(config: &Path, arguments: Arguments) -> anyhow::Result<()> {
    let config =
        Config::load(config, arguments.roles).with_context(|| format!("{}", config.display()))?;
    let mut runtime = match config.threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if config.threads > 1 {
        runtime.worker_threads(config.threads);
    }
    let pace = Pace::new(Duration::from_millis(config.turn_ms_max));
    pace.of(&mut runtime);
    let runtime = runtime.enable_all().build()?;
    let result = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            match stopping(arguments.exit_with_parent).await {
                Ok(why) => tracing::info!(why, "stopping"),
                Err(error) => tracing::error!(%error, "signals cannot be heard: stopping"),
            }
            stop.send_replace(true);
        });
        chorus_origin::run::run(config, pace, stopped).await
    });
    // Threads of the store that are in a statement need not be waited for: its log is crash-safe.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Waits for a reason to stop.
async fn stopping(with_parent: bool) -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = parent_gone(), if with_parent => "the parent is gone",
    })
}

async fn parent_gone() {
    // An orphan is given another parent.
    let parent = rustix::process::getppid();
    let mut tick = tokio::time::interval(PARENT);
    while rustix::process::getppid() == parent {
        tick.tick().await;
    }
}
