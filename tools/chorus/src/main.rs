//! The `chorus` command: a whole Chorus on one machine (`dev`), load against any PoP (`load`), the configuration of several
//! regions (`regions`), a network between namespaces (`wan`).

// Both macros panic when standard output or error cannot be written.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod dev;
#[cfg(target_os = "linux")]
mod faults;
mod histogram;
#[cfg(target_os = "linux")]
mod latency;
mod load;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod people;
#[cfg(target_os = "linux")]
mod random;
mod regions;
#[cfg(target_os = "linux")]
mod rig;
mod supervised;
#[cfg(target_os = "linux")]
mod wan;

use std::process::ExitCode;

use chorus_telemetry::complain;
use clap::{Parser, Subcommand};

/// Live comments beside a live video.
#[derive(Parser)]
#[command(name = "chorus", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a whole Chorus on this machine: NATS, an origin and a PoP.
    Dev(dev::Args),
    /// Put viewers and comments on a PoP and say how long a comment takes.
    Load(load::Args),
    /// Write the configuration of every server of several regions.
    Regions(regions::Args),
    /// A network with real distances and faults between network namespaces of this machine.
    #[cfg(target_os = "linux")]
    Wan(wan::Args),
    /// Kill, freeze and cut off parts of three regions under load, and say whether anything was lost, doubled or missed.
    #[cfg(target_os = "linux")]
    Faults(faults::Args),
    /// Measure how long a comment takes from each region to each other one.
    #[cfg(target_os = "linux")]
    Latency(latency::Args),
    /// Become another program that dies with its parent.
    #[command(hide = true)]
    Supervised(supervised::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Dev(args) => dev::run(args),
        Command::Load(args) => load::run(args),
        Command::Regions(args) => regions::run(args),
        #[cfg(target_os = "linux")]
        Command::Wan(args) => wan::run(args),
        #[cfg(target_os = "linux")]
        Command::Faults(args) => faults::run(&args),
        #[cfg(target_os = "linux")]
        Command::Latency(args) => latency::run(&args),
        Command::Supervised(args) => supervised::run(&args),
    };
    let code = match result {
        Ok(code) => code,
        Err(error) => {
            complain!("chorus: {error:#}");
            ExitCode::FAILURE
        }
    };
    chorus_telemetry::flush_terminal();
    code
}
