//! `chorus wan`: a network between network namespaces, with delay, jitter, loss, reordering, duplication, rate and partitions.

mod control;
mod device;
mod ends;
mod file;
mod forward;
mod link;
mod namespaces;
mod network;
mod random;
mod run;
mod stats;
mod units;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use chorus_telemetry::say;

use control::{Answer, Request, ask};
use ends::Ends;
use link::Change;

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
    /// Make the hosts of a file as network namespaces, with a network between them; needs root.
    Run(run::Args),
    /// Change links while the network runs.
    Set(Set),
    /// Cut links: nothing passes until `heal`.
    Partition(Cut),
    /// Heal links that were cut; all of them when none is named.
    Heal(Heal),
    /// Print what became of each link's packets.
    Stats(Show),
    /// Become a command in a host's network namespace; needs root.
    Exec(Exec),
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

/// Ends are hosts, regions, or the beginning of hosts' names and `*`.
#[derive(clap::Args)]
struct Set {
    #[command(flatten)]
    named: Named,
    /// Both directions between two ends.
    #[arg(long, num_args = 2, value_names = ["END", "END"], required_unless_present = "from", conflicts_with = "from")]
    between: Vec<String>,
    /// The direction from this end.
    #[arg(long)]
    from: Option<String>,
    /// The direction to this end; to all others when absent.
    #[arg(long, requires = "from")]
    to: Option<String>,
    #[command(flatten)]
    change: Change,
}

/// Ends are hosts, regions, or the beginning of hosts' names and `*`.
#[derive(clap::Args)]
struct Cut {
    #[command(flatten)]
    named: Named,
    /// One end.
    end: String,
    /// The other; all others when absent.
    other: Option<String>,
    /// Only from the first to the second.
    #[arg(long)]
    one_way: bool,
}

/// Ends are hosts, regions, or the beginning of hosts' names and `*`.
#[derive(clap::Args)]
struct Heal {
    #[command(flatten)]
    named: Named,
    /// One end.
    end: Option<String>,
    /// The other; all others when absent.
    other: Option<String>,
    /// Only from the first to the second.
    #[arg(long, requires = "end")]
    one_way: bool,
}

#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    named: Named,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Exec {
    #[command(flatten)]
    named: Named,
    /// The host.
    host: String,
    /// The command and its arguments.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Carries out one of the actions.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.action {
        Action::Run(args) => run::run(&args),
        Action::Set(set) => set.run(),
        Action::Partition(cut) => {
            let ends = ends(cut.end, cut.other, cut.one_way);
            changed(&cut.named, &Request::Partition { ends }, "cut")
        }
        Action::Heal(heal) => {
            let ends = heal.end.map(|end| ends(end, heal.other, heal.one_way));
            changed(&heal.named, &Request::Heal { ends }, "healed")
        }
        Action::Stats(show) => show.run(),
        Action::Exec(exec) => exec.run(),
    }
}

const fn ends(from: String, to: Option<String>, one_way: bool) -> Ends {
    Ends { from, to, one_way }
}

fn changed(named: &Named, request: &Request, word: &str) -> Result<ExitCode> {
    let name = named.find()?;
    if let Answer::Changed(links) = ask(&name, request)? {
        say!("{name}: {links} links {word}, each direction counted");
    }
    Ok(ExitCode::SUCCESS)
}

impl Set {
    fn run(self) -> Result<ExitCode> {
        if self.change.is_empty() {
            bail!("nothing to set: `--delay-ms`, `--loss` or another");
        }
        let ends = match (self.from, <[String; 2]>::try_from(self.between)) {
            (Some(from), _) => ends(from, self.to, true),
            (None, Ok([one, other])) => ends(one, Some(other), false),
            (None, Err(_)) => bail!("`--between` wants two ends"),
        };
        let change = self.change;
        changed(&self.named, &Request::Set { ends, change }, "changed")
    }
}

impl Show {
    fn run(&self) -> Result<ExitCode> {
        if let Answer::Stats(stats) = ask(&self.named.find()?, &Request::Stats)? {
            if self.json {
                say!("{}", serde_json::to_string_pretty(&stats)?);
            } else {
                say!("{}", stats.table().trim_end());
            }
        }
        Ok(ExitCode::SUCCESS)
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
