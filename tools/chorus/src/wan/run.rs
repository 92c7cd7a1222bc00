//! `chorus wan run`: from a file to namespaces with a network between them, and back to nothing.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chorus_telemetry::say;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::net::UnixListener;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

use super::device::Device;
use super::file;
use super::forward::{Forwarder, Shared};
use super::matrix::Matrix;
use super::namespaces::{self, Run};
use super::network::Network;
use super::{NAME_VARIABLE, control};
use crate::supervised;

/// From the polite signal to the kill.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How often the forwarder is looked after.
const LOOK: Duration = Duration::from_millis(500);

/// Options of `chorus wan run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The network file.
    #[arg(default_value = "deploy/wan/three-regions.toml")]
    file: PathBuf,
    /// What the run is called; the file's name when absent.
    #[arg(long)]
    name: Option<String>,
    /// A command to run once all is ready, outside of the hosts and with `CHORUS_WAN` in its environment; the network goes when
    /// it ends, with its exit code.
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// Runs until told to stop.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // One thread: it is the parent that the command is bound to, and it lives to the end.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(wan(args))
}

async fn wan(args: &Args) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let name = name(args)?;
    let network = file::load(&args.file)?;
    if !geteuid().is_root() {
        bail!("`chorus wan run` makes network namespaces and devices: it must be root");
    }
    let run = Run::start(&name)?;
    let devices = devices(&run, &network)?;
    let listener = listen(&name)?;
    let hosts = network.hosts().len();
    let asked = asked(&network);
    let shared = Arc::new(Shared::new(network));
    let forwarder = Forwarder::start(Arc::clone(&shared), Arc::clone(&devices))?;
    let mut command = command(&args.command, &name)?;
    say!(
        "{asked}\n\n{name}: a network of {hosts} hosts until Ctrl-C; elsewhere\n\
         \x20 chorus wan probe                   measures every link\n\
         \x20 chorus wan exec HOST -- COMMAND    runs a command in a host"
    );

    let end = tokio::select! {
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
        status = ended(command.as_mut()) => status.map(Some).context("cannot wait for the command"),
        () = control::serve(listener, &shared, &devices) => Ok(None),
        () = forwarder_ended(&forwarder) => bail!("nothing forwards packets any more"),
    };
    if let Some(child) = &mut command {
        stop(child).await;
    }
    Ok(end?.map_or(ExitCode::SUCCESS, exit_code))
}

fn name(args: &Args) -> Result<String> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => {
            let stem = args.file.file_stem().unwrap_or_default();
            stem.to_string_lossy()
                .to_ascii_lowercase()
                .replace('_', "-")
        }
    };
    if !file::is_name(&name) {
        bail!("`--name`: {name:?} is not 1 to 32 of a-z, 0-9 and `-`");
    }
    Ok(name)
}

/// A namespace and a device for each host, in their order.
fn devices(run: &Run, network: &Network) -> Result<Arc<[Device]>> {
    network
        .hosts()
        .iter()
        .map(|host| {
            let device = Device::open_in(&run.add(&host.name)?)?;
            run.set_up(&host.name, host.address)?;
            Ok(device)
        })
        .collect()
}

/// The least delay of each link.
fn asked(network: &Network) -> String {
    let links = network.stats();
    let mut matrix = Matrix::default();
    for link in &links {
        matrix.put(&link.from, &link.to, Some(link.delay_ms));
    }
    matrix.table("least one way, ms")
}

fn listen(name: &str) -> Result<UnixListener> {
    let path = namespaces::socket(name);
    remove(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn command(words: &[OsString], name: &str) -> Result<Option<Child>> {
    let Some((program, args)) = words.split_first() else {
        return Ok(None);
    };
    let mut command = supervised::command(Path::new(program), None)?;
    command.args(args).env(NAME_VARIABLE, name);
    let child = tokio::process::Command::from(command)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(Some(child))
}

/// Waits for the command; for ever when there is none.
async fn ended(child: Option<&mut Child>) -> io::Result<ExitStatus> {
    match child {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

async fn forwarder_ended(forwarder: &Forwarder) {
    while !forwarder.has_ended() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn stop(child: &mut Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // It may end at this moment.
        let _gone = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(STOP_MAX, child.wait()).await.is_err() {
        let _gone = child.kill().await;
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let signal = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(signal).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
