//! `chorus-edge`: a PoP.

// Both macros panic when standard output or error cannot be written.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chorus_edge::config::{Config, SHARDS_MAX};
use chorus_edge::shard::send::IoUring;
use chorus_quic::Pace;
use chorus_telemetry::Format;
use clap::Parser;

/// Messages are allocated and freed within milliseconds on many threads; glibc's allocator would return their pages to the
/// system and request them again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A Chorus PoP: viewers connect here.
#[derive(Debug, Parser)]
#[command(name = "chorus-edge", version)]
struct Cli {
    /// The configuration; without it every value is its default or given below.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Where viewers connect, over the file's `listen`.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// This PoP's name, over the file's `pop`.
    #[arg(long)]
    pop: Option<chorus_protocol::PopId>,
    /// Threads that serve viewers, over the file's `shards`.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=SHARDS_MAX as i64))]
    shards: Option<u8>,
    /// The application's manifest, over the file's `app`.
    #[arg(long)]
    app: Option<PathBuf>,
    /// Where compiled components are kept, over the file's `state_dir`.
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// The files served at `/`, over the file's `assets_dir`.
    #[arg(long)]
    assets_dir: Option<PathBuf>,
    /// Do not use `io_uring`, whatever the file says.
    #[arg(long)]
    no_io_uring: bool,
    /// End at once when the process that started this one ends.
    #[arg(long)]
    exit_with_parent: bool,
    /// How to write logs, to standard error; `RUST_LOG` chooses which.
    #[arg(long, value_enum, default_value_t)]
    log: Format,
}

impl Cli {
    fn config(&self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        if let Some(pop) = &self.pop {
            config.pop = pop.clone();
        }
        if let Some(shards) = self.shards {
            config.shards = shards.into();
        }
        if let Some(app) = &self.app {
            config.app.clone_from(app);
        }
        if let Some(state_dir) = &self.state_dir {
            config.state_dir.clone_from(state_dir);
        }
        if self.assets_dir.is_some() {
            config.assets_dir.clone_from(&self.assets_dir);
        }
        if self.no_io_uring {
            config.io_uring = IoUring::Off;
        }
        Ok(config)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _lines = chorus_telemetry::start(cli.log, "info");
    match serve(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(cli: &Cli) -> anyhow::Result<()> {
    let config = cli.config()?;
    // Each shard has its own thread; this thread runs the backhaul and the HTTP server. One thread is enough for both, and
    // each further thread on a message's path would cost a wake-up.
    let pace = Pace::new(Duration::from_millis(config.turn_ms_max));
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    pace.of(&mut runtime);
    let runtime = runtime
        .enable_all()
        .build()
        .context("the runtime cannot be set up")?;
    let served = runtime.block_on(chorus_edge::pop::run(config, cli.exit_with_parent, pace));
    runtime.shutdown_background();
    Ok(served?)
}
