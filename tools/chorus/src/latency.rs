//! `chorus latency`: posts in each region and measures how long it takes until it is durable and until it is shown in each
//! region, beside what the network takes alone.

mod heat;
mod measure;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chorus_client::Endpoint;
use chorus_telemetry::{complain, say};
use serde::Deserialize;

use crate::people::Pop;
use crate::rig::{REGIONS, Rig, Setup, Wan};
use crate::wan;
use measure::{Place, Plan};
use report::Report;

/// The last miles of the second run.
const LOSS: f64 = 0.01;
const JITTER_MS: f64 = 20.0;

/// Options of `chorus latency`.
#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// The network file, with hosts `eu`, `pop-eu`, `viewer-eu`, … and `desk`.
    #[arg(long, default_value = "deploy/wan/latency.toml")]
    network: PathBuf,
    /// Measure at PoPs that are deployed, from this machine: a file of `[[pops]]` with `name` and `url`, and `token` where
    /// they give no development tokens.
    #[arg(long, value_name = "FILE")]
    pops: Option<PathBuf>,
    /// How long each run posts, in seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Viewers in each region.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    viewers: u32,
    /// Comments a second of each region's author.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=40))]
    rate: u32,
    /// nats-servers in each region: 1 or 3.
    #[arg(long, default_value_t = 1)]
    nodes: u8,
    /// Where the regions' data is kept; removed at the end.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The document to write, with its plots in a directory of its name; none when absent.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What `--pops` names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deployed {
    /// Of all authors; without one each gets its own from a PoP in development mode.
    token: Option<String>,
    /// A stream that is there; a new one when absent.
    stream: Option<String>,
    pops: Vec<DeployedPop>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeployedPop {
    name: String,
    url: String,
}

/// Measures and reports; the exit code is 1 when something is slower than it should be.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut report = Report::new(args);
    match &args.pops {
        Some(path) => deployed(args, path, &mut report)?,
        None => over_wan(args, &mut report)?,
    }
    if let Some(path) = &args.write {
        report.write(path)?;
        say!("written to {}", path.display());
    }
    for words in report.failures() {
        complain!("chorus: {words}");
    }
    Ok(if report.failures().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")
}

/// PoPs that are there, from where this machine is.
fn deployed(args: &Args, path: &Path, report: &mut Report) -> Result<()> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let named: Deployed = toml::from_str(&text).with_context(|| path.display().to_string())?;
    if named.pops.is_empty() {
        bail!("{}: no PoP is named", path.display());
    }
    let pops: Vec<Pop> = named
        .pops
        .iter()
        .map(|pop| {
            Ok(Pop {
                name: pop.name.clone(),
                endpoint: Endpoint::parse(&pop.url)?,
                url: pop.url.clone(),
            })
        })
        .collect::<Result<_>>()?;
    let runtime = runtime()?;
    let plan = Plan {
        places: pops.iter().map(|_| Place::default()).collect(),
        pops,
        token: named.token,
        stream: named.stream,
        seconds: args.seconds,
        viewers: args.viewers,
        rate: args.rate,
    };
    let network = runtime.block_on(measure::pings(&plan))?;
    let run = measure::run(&plan, &runtime)?;
    report.add("deployed PoPs, from here", run, network, None);
    Ok(())
}

/// Three regions in a network of `chorus wan`: without loss, then with what last miles lose.
fn over_wan(args: &Args, report: &mut Report) -> Result<()> {
    if let Some(why) = Wan::missing() {
        bail!("a network of `chorus wan` is needed: {why}; or name PoPs with --pops");
    }
    let name = format!("latency-{}", std::process::id());
    let wan = Wan::start(&args.network, &name)?;
    let runtime = runtime()?;
    let data = args.data.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("chorus-latency-{}", std::process::id()))
    });
    let setup = Setup {
        data: data.clone(),
        nodes: args.nodes,
        options: vec!["--shards".to_owned(), "1".to_owned()],
    };
    say!("starting three regions");
    let rig = Rig::start(&setup, Some(&wan))?;
    let mut places = Vec::new();
    for region in REGIONS {
        let netns = wan::place(&name, &format!("viewer-{region}"))?.netns;
        places.push(Place { netns: Some(netns) });
    }
    let plan = Plan {
        places,
        pops: rig.pops()?,
        token: None,
        stream: None,
        seconds: args.seconds,
        viewers: args.viewers,
        rate: args.rate,
    };
    // What streams and leases need at their first use is not measured.
    let warm = Plan {
        seconds: 3,
        ..plan.clone()
    };
    measure::run(&warm, &runtime)?;
    for lossy in [false, true] {
        if lossy {
            let change = wan::Change {
                loss: Some(LOSS.try_into().map_err(anyhow::Error::msg)?),
                jitter_ms: Some(JITTER_MS.try_into().map_err(anyhow::Error::msg)?),
                ..wan::Change::default()
            };
            let ends = wan::Ends {
                from: "viewer-*".to_owned(),
                to: None,
                one_way: false,
            };
            wan::ask(&name, &wan::Request::Set { ends, change })?;
        }
        let title = if lossy {
            "1 % loss and 20 ms of jitter on last miles"
        } else {
            "without loss"
        };
        say!("{title}: probing, then posting for {} s", args.seconds);
        let links = runtime.block_on(wan::probe::all(&name, 100, Duration::from_millis(20)))?;
        let run = measure::run(&plan, &runtime)?;
        let network = measure::ways(&links);
        report.add(title, run, network, (!lossy).then_some(()));
    }
    drop(rig);
    let _left = fs::remove_dir_all(&data);
    let _left = fs::remove_file(data.with_extension("log"));
    Ok(())
}
