//! `chorus-origin`: the roles of a region's origin.

// Both panic when nobody takes what is printed.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use chorus_origin::config::{Config, Role};
use chorus_quic::Pace;
use chorus_telemetry::Format;
use clap::Parser;
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
    /// The configuration file.
    #[arg(long, env = "CHORUS_ORIGIN_CONFIG")]
    config: PathBuf,
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

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let _lines = chorus_telemetry::start(arguments.log, "info,async_nats=error");
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config, arguments.roles)
        .with_context(|| format!("{}", arguments.config.display()))?;
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
