//! `chorus faults`: does things to three regions under load, and lets a checker compare all that was said and shown with what
//! logs and stores hold.

mod act;
pub(crate) mod check;
mod report;
mod rows;
mod run;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use chorus_telemetry::{complain, say};
use rustix::process::geteuid;

use crate::rig::{REGIONS, Rig, Setup, Wan};
use act::{Disk, Stage};
use report::{Outcome, Report};
use rows::{Need, Row};

/// With `--quick` no fault lasts longer.
const QUICK_LASTS: Duration = Duration::from_secs(3);
/// Until all programs are well again after a row.
const WELL_MAX: Duration = Duration::from_secs(60);

/// Options of `chorus faults`.
#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// Only this row; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Say which rows there are.
    #[arg(long)]
    list: bool,
    /// Fewer seconds a row.
    #[arg(long)]
    quick: bool,
    /// nats-servers in each region: 1 or 3.
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    /// Posts of an author in a second; each region has one, and a viewer beside it.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=40))]
    rate: u32,
    /// Decides when each reconnects and when the fault begins; another one each time when absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Say how long service was away, but do not fail for it: for a busy machine.
    #[arg(long)]
    no_times: bool,
    /// On loopback, without the rows that need a network of `chorus wan`.
    #[arg(long)]
    loopback: bool,
    /// The network file, with hosts `eu`, `pop-eu`, … and `desk`.
    #[arg(long, default_value = "deploy/wan/faults.toml")]
    network: PathBuf,
    /// Where the regions' data is kept; removed at the end unless something failed.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The document to write; none when absent.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// Runs the rows; the exit code is 1 when one failed.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let rows = choose(args)?;
    if args.list {
        for row in rows {
            say!("{:<16} {}", row.name, row.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let seed = args.seed.unwrap_or(now.as_millis() as u64);
    let data = args.data.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("chorus-faults-{}", std::process::id()))
    });
    say!("seed {seed}; data in {}", data.display());
    let has_network = !args.loopback && Wan::missing().is_none();
    let wan = if has_network {
        // Before there is another thread: all are to be on the same host.
        let name = format!("faults-{}", std::process::id());
        Some(Wan::start(&args.network, &name)?)
    } else {
        None
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")?;
    let mut report = Report::new(seed, args);
    let stage = stage(&data, wan, &rows)?;
    let result = runtime.block_on(all(args, &rows, &stage, seed, &mut report));
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(stage);
    result?;
    say!("\n{}", report.text());
    if let Some(path) = &args.write {
        fs::write(path, report.markdown())
            .with_context(|| format!("cannot write {}", path.display()))?;
        say!("written to {}", path.display());
    }
    if report.failed() {
        complain!("chorus: see logs and data in {}", data.display());
        return Ok(ExitCode::FAILURE);
    }
    // What is left of it hurts nobody.
    let _left = fs::remove_dir_all(&data);
    let _left = fs::remove_file(data.with_extension("log"));
    Ok(ExitCode::SUCCESS)
}

fn choose(args: &Args) -> Result<Vec<Row>> {
    let mut rows = rows::all();
    for name in &args.only {
        if !rows.iter().any(|row| row.name == name) {
            let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
            bail!("--only {name}: the rows are {}", names.join(", "));
        }
    }
    if !args.only.is_empty() {
        rows.retain(|row| args.only.iter().any(|name| name == row.name));
    }
    if args.quick {
        for row in &mut rows {
            row.lasts = row.lasts.min(QUICK_LASTS);
        }
    }
    Ok(rows)
}

/// Prepares what the rows need and is there.
fn stage(data: &std::path::Path, wan: Option<Wan>, rows: &[Row]) -> Result<Stage> {
    let needs = |need| rows.iter().any(|row| row.need == Some(need));
    fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
    let data = fs::canonicalize(data)?;
    let mut stage = Stage {
        data: data.clone(),
        wan,
        disk: None,
        clock: None,
    };
    if needs(Need::Disk) && geteuid().is_root() {
        // `chorus dev` takes a directory with this file for its own.
        fs::write(data.join("chorus-dev.json"), "{\"version\":1}\n")?;
        let node = data.join("regions").join(REGIONS[0]).join("nats-1");
        stage.disk = Disk::mount(&node).ok();
    }
    if needs(Need::Clock) && act::faketime().is_some() {
        stage.clock = Some(data.with_extension("clock"));
        stage.set_clock(0)?;
    }
    Ok(stage)
}

/// Why a row cannot be run; `None` when it can.
fn missing(row: &Row, stage: &Stage, nodes: u8) -> Option<String> {
    match row.need {
        Some(Need::Wan) if stage.wan.is_none() => {
            let why = Wan::missing().unwrap_or("--loopback");
            Some(format!("needs a network of `chorus wan`: {why}"))
        }
        Some(Need::Disk) if stage.disk.is_none() => Some("needs root for a tmpfs".to_owned()),
        Some(Need::Disk) if nodes == 1 => Some("needs --nodes 3".to_owned()),
        Some(Need::Clock) if stage.clock.is_none() => {
            Some("needs faketime: on Debian `apt-get install faketime`".to_owned())
        }
        Some(Need::Wan | Need::Disk | Need::Clock) | None => None,
    }
}

fn start(args: &Args, stage: &Stage, lasts: Duration) -> Result<Rig> {
    let mut options = vec![
        "--restart-delay-ms".to_owned(),
        lasts.as_millis().to_string(),
        "--shards".to_owned(),
        "1".to_owned(),
        // Back at its own gateway soon, so that each row begins alike.
        "--edge-set".to_owned(),
        "backhaul.bounds.look_ms=500".to_owned(),
    ];
    if let (Some(clock), Some(library)) = (&stage.clock, act::faketime()) {
        // Times of waits stay true: a machine's clock that is set moves its time of day alone.
        let command = format!(
            "edge-{}=env LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={} FAKETIME_CACHE_DURATION=1 \
             FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1",
            REGIONS[1],
            clock.display()
        );
        options.extend(["--under".to_owned(), command]);
    }
    let setup = Setup {
        data: stage.data.clone(),
        nodes: args.nodes,
        options,
    };
    let begun = Instant::now();
    let rig = Rig::start(&setup, stage.wan.as_ref())?;
    say!(
        "three regions of {} nodes are up after {:.1} s{}",
        args.nodes,
        begun.elapsed().as_secs_f64(),
        if stage.wan.is_some() {
            ", in a network of `chorus wan`"
        } else {
            ", on loopback"
        }
    );
    Ok(rig)
}

async fn all(
    args: &Args,
    rows: &[Row],
    stage: &Stage,
    seed: u64,
    report: &mut Report,
) -> Result<()> {
    let lasts = if args.quick {
        QUICK_LASTS
    } else {
        Duration::from_secs(6)
    };
    let mut rig = start(args, stage, lasts)?;
    for row in rows {
        if let Some(why) = missing(row, stage, args.nodes) {
            say!("{:<16} skipped: {why}", row.name);
            report.add(row, Outcome::Skipped(why));
            continue;
        }
        if let Some(why) = well(&rig).await {
            bail!(
                "the regions are not well before the row {}: {why}",
                row.name
            );
        }
        let verdict = run::row(args, row, stage, &rig, seed).await;
        let verdict = verdict.with_context(|| format!("the row {}", row.name))?;
        let bound = (!args.no_times).then_some((row.longest_max, row.shown_max()));
        let mut failures = verdict.failures(bound);
        let unwell = well(&rig).await;
        if let Some(why) = &unwell {
            failures.push(format!("not well after {} s: {why}", WELL_MAX.as_secs()));
        }
        for words in &failures {
            say!("  FAILED  {words}");
        }
        report.add(row, Outcome::Ran(Box::new(verdict), failures));
        if unwell.is_some() {
            say!("starting the regions again");
            drop(rig);
            rig = start(args, stage, lasts)?;
        }
    }
    Ok(())
}

/// Waits until all programs are well; why not after the longest time.
async fn well(rig: &Rig) -> Option<String> {
    let deadline = Instant::now() + WELL_MAX;
    loop {
        let why = rig.unready().await?;
        if Instant::now() > deadline {
            return Some(why);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
