//! `chorus supervised`: asks the kernel to kill this process when its parent ends, then replaces itself by a program.
//!
//! The request survives `exec`, so that programs that do not watch their parent (nats-server) end with it too, and no code
//! must run between `fork` and `exec`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

/// Options of `chorus supervised`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The process that must still be the parent.
    #[arg(long)]
    parent: u32,
    /// The network namespace to run it in.
    #[arg(long)]
    netns: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(required = true, last = true)]
    program: Vec<OsString>,
}

/// A command that runs `program` supervised, in the network namespace at `netns` where one is given. The kernel takes the thread that spawns it for its parent, so this thread must
/// live as long as the process.
pub(crate) fn command(program: &Path, netns: Option<&Path>) -> Result<Command> {
    let chorus = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = Command::new(chorus);
    command
        .arg("supervised")
        .arg(format!("--parent={}", std::process::id()));
    if let Some(netns) = netns {
        command.arg("--netns").arg(netns);
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// Replaces this process by the program; returns only on failure.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL))
            .context("cannot be ended with the parent")?;
        // Only this thread enters, and it becomes the program.
        if let Some(netns) = &args.netns {
            crate::wan::enter(netns)?;
        }
    }
    // If the parent ended before the request, the kernel would never kill this process.
    if std::os::unix::process::parent_id() != args.parent {
        return Ok(ExitCode::FAILURE);
    }
    let (program, arguments) = args.program.split_first().context("no program named")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
