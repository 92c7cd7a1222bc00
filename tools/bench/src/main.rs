//! `chorus-bench`: Chorus beside the physical limit of the machine and beside its peers, in one run.

// Both panic when nobody takes what is printed.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod bare;
mod http;
mod load;
mod peers;
mod plot;
mod report;
mod rows;
mod stack;
mod stats;
mod sys;
mod ws;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use chorus_telemetry::complain;
use clap::{Args, Parser, Subcommand};

/// Measures a PoP beside a bare loop of `write` calls and beside what could be installed instead. Without a command:
/// `all`.
#[derive(Debug, Parser)]
#[command(name = "chorus-bench", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every row, at most 15 minutes; writes docs/benchmarks.md.
    All(Options),
    /// Some rows by name, each as long as it needs (`--rounds 1`: as short as it can be); without a name, lists them.
    Row {
        /// Their names.
        names: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
    /// The bare loop, driven by orders on standard input.
    #[command(hide = true)]
    Bare,
    /// Viewers of a bare loop.
    #[command(hide = true)]
    Crowd { addr: SocketAddr, viewers: usize },
}

/// What is measured and where the results go.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// A PoP that is running already, `ws://host:port` or `wss://host:port`; without it the bench starts its own.
    #[arg(long)]
    url: Option<String>,
    /// The process of that PoP.
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// The stream that is used there.
    #[arg(long, default_value = "demo")]
    stream: String,
    /// Users' tokens for posting there, a file with one a line; without it they are asked of the development mode.
    #[arg(long, requires = "url")]
    tokens: Option<PathBuf>,
    /// Rounds of each side; 0: as many as the command has time for.
    #[arg(long, default_value_t = 0)]
    rounds: usize,
    /// Leaves the peers out.
    #[arg(long)]
    no_peers: bool,
    /// Where the binaries of the stack are.
    #[arg(long, default_value = "target/release")]
    bin_dir: PathBuf,
    /// The binaries of an earlier build: each row runs with them and with those of `--bin-dir` in turn, `--rounds` times,
    /// and what is printed are the figures before and after.
    #[arg(long, conflicts_with_all = ["url", "out"])]
    before: Option<PathBuf>,
    /// Where the results go; without it `all` writes `docs` and the others only print.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let code = match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("chorus-bench: {error:#}");
            ExitCode::FAILURE
        }
    };
    chorus_telemetry::flush_terminal();
    code
}

fn run(cli: Cli) -> Result<()> {
    match cli.command.unwrap_or(Command::All(cli.options)) {
        Command::Bare => bare::run(),
        Command::Crowd { addr, viewers } => load::crowd::run(addr, viewers),
        Command::All(options) => rows::run(&options, None),
        Command::Row { names, options } => rows::run(&options, Some(&names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_command_everything_is_measured() {
        for args in [&["chorus-bench"][..], &["chorus-bench", "--no-peers"]] {
            let cli = Cli::try_parse_from(args).expect("parses");
            assert!(cli.command.is_none());
            assert_eq!(cli.options.no_peers, args.len() == 2);
        }
        let cli = Cli::try_parse_from(["chorus-bench", "row", "fanout", "--rounds", "2"]);
        let Ok(Cli {
            command: Some(Command::Row { names, options }),
            ..
        }) = cli
        else {
            panic!("{cli:?}")
        };
        assert_eq!((names, options.rounds), (vec!["fanout".to_owned()], 2));
    }
}
