//! `chorus wan`: a network between network namespaces, with delay, jitter, loss, reordering, rate and partitions.

mod control;
mod device;
mod ends;
mod file;
mod forward;
mod link;
mod matrix;
mod namespaces;
mod network;
pub(crate) mod probe;
mod run;
mod stats;
pub(crate) mod units;

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use chorus_telemetry::say;

pub(crate) use control::{Answer, Request, ask};
pub(crate) use device::enter;
pub(crate) use ends::Ends;
pub(crate) use link::Change;
use stats::Stats;

/// Names the run in the environment of commands that are started in it.
const NAME_VARIABLE: &str = "CHORUS_WAN";

/// Options of `chorus wan`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Make the hosts of a file as network namespaces, with a network between them, until Ctrl-C; needs root.
    Run(run::Args),
    /// Become a command in a host's network namespace; needs root.
    Exec(Exec),
    /// Measure every link: each host sends to each other, one way by one clock; needs root.
    Probe(probe::Args),
    /// Change links while the network runs: `chorus wan set eu us --loss 0.05`.
    Set(Set),
    /// Cut links, also for what is on its way: `chorus wan partition eu` cuts eu off from all others.
    Partition(Cut),
    /// Heal links that were cut; all of them when none is named.
    Heal(Heal),
    /// Print what became of each link's packets.
    Stats(Show),
}

/// Which run.
#[derive(clap::Args)]
struct Named {
    /// The run; the only one when absent.
    #[arg(long, env = NAME_VARIABLE)]
    name: Option<String>,
}

impl Named {
    fn find(&self) -> Result<String> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => namespaces::only_run(),
        }
    }
}

/// Which links.
#[derive(clap::Args)]
struct Pair {
    /// The other end; all hosts that END does not mean when absent.
    other: Option<String>,
    /// Only the direction from END to OTHER.
    #[arg(long)]
    one_way: bool,
}

impl Pair {
    fn ends(self, from: String) -> Ends {
        Ends {
            from,
            to: self.other,
            one_way: self.one_way,
        }
    }
}

#[derive(clap::Args)]
struct Set {
    #[command(flatten)]
    named: Named,
    /// A host, a region, or the beginning of hosts' names and `*`.
    end: String,
    #[command(flatten)]
    pair: Pair,
    #[command(flatten)]
    change: Change,
}

#[derive(clap::Args)]
struct Cut {
    #[command(flatten)]
    named: Named,
    /// A host, a region, or the beginning of hosts' names and `*`.
    end: String,
    #[command(flatten)]
    pair: Pair,
}

#[derive(clap::Args)]
struct Heal {
    #[command(flatten)]
    named: Named,
    /// A host, a region, or the beginning of hosts' names and `*`.
    end: Option<String>,
    #[command(flatten)]
    pair: Pair,
}

#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    named: Named,
    /// As JSON, of all links.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Exec {
    #[command(flatten)]
    named: Named,
    /// The host.
    host: String,
    /// The command and its arguments, behind `--`.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Carries out one of the actions.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.action {
        Action::Run(args) => run::run(&args),
        Action::Exec(exec) => exec.run(),
        Action::Probe(args) => probe::run(&args),
        Action::Set(set) => {
            if set.change.is_empty() {
                bail!("nothing to set: `--delay-ms`, `--loss` or another");
            }
            let (ends, change) = (set.pair.ends(set.end), set.change);
            changed(&set.named, &Request::Set { ends, change }, "changed")
        }
        Action::Partition(cut) => {
            let ends = cut.pair.ends(cut.end);
            changed(&cut.named, &Request::Partition { ends }, "cut")
        }
        Action::Heal(heal) => {
            let ends = heal.end.map(|end| heal.pair.ends(end));
            changed(&heal.named, &Request::Heal { ends }, "healed")
        }
        Action::Stats(show) => {
            let stats = stats(&show.named.find()?)?;
            if show.json {
                say!("{}", serde_json::to_string_pretty(&stats)?);
            } else {
                say!("{}", stats.table().trim_end());
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A host of a running network.
pub(crate) struct Place {
    /// Its address in the network.
    pub(crate) address: Ipv4Addr,
    /// The path of its network namespace.
    pub(crate) netns: PathBuf,
}

/// Finds a host of the network of that name.
///
/// # Errors
/// When the network does not run or has no such host.
pub(crate) fn place(run: &str, host: &str) -> Result<Place> {
    let netns = namespaces::find(run, host)?;
    let hosts = stats(run)?.hosts;
    let found = hosts.into_iter().find(|it| it.name == host);
    let address = found.with_context(|| format!("{run} has no host {host}"))?;
    Ok(Place {
        address: address.address,
        netns,
    })
}

fn changed(named: &Named, request: &Request, word: &str) -> Result<ExitCode> {
    let name = named.find()?;
    if let Answer::Changed(links) = ask(&name, request)? {
        say!("{name}: {links} links {word}, each direction counted");
    }
    Ok(ExitCode::SUCCESS)
}

fn stats(run: &str) -> Result<Stats> {
    match ask(run, &Request::Stats)? {
        Answer::Stats(stats) => Ok(stats),
        Answer::Changed(_) | Answer::Refused(_) => bail!("an answer to another question"),
    }
}

impl Exec {
    fn run(&self) -> Result<ExitCode> {
        let name = self.named.find()?;
        // Only this thread enters, and it becomes the command.
        device::enter(&namespaces::find(&name, &self.host)?)?;
        let (program, args) = self.command.split_first().context("no command")?;
        let error = Command::new(program)
            .args(args)
            .env(NAME_VARIABLE, name)
            .exec();
        Err(error).with_context(|| format!("cannot run {}", program.display()))
    }
}
