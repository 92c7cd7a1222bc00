//! `chorus supervised`: asks the kernel to end this process with its parent, then becomes the program named.
//!
//! The request outlives `exec`, so a program that knows nothing of its parent (nats-server) goes with it all the
//! same, and no code has to run between `fork` and `exec`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

/// What to become.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The process that must still be the parent.
    #[arg(long)]
    parent: u32,
    /// The program and its arguments.
    #[arg(required = true, last = true)]
    program: Vec<OsString>,
}

/// A command that runs `program` under supervision. The thread that spawns it counts as the parent: it must live as
/// long as the process.
pub(crate) fn command(program: &std::path::Path) -> Result<Command> {
    let chorus = std::env::current_exe().context("cannot tell where this program is")?;
    let mut command = Command::new(chorus);
    command
        .arg("supervised")
        .arg(format!("--parent={}", std::process::id()))
        .arg("--")
        .arg(program);
    Ok(command)
}

/// Becomes the program; comes back only when that fails.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL))
            .context("cannot be ended with the parent")?;
    }
    // Had the parent died before the request, nobody would be left to end this process.
    if std::os::unix::process::parent_id() != args.parent {
        return Ok(ExitCode::FAILURE);
    }
    let (program, rest) = args.program.split_first().context("no program named")?;
    let error = Command::new(program).args(rest).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
