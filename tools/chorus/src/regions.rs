//! `chorus regions`: from one file of regions to the configuration of every server.

mod file;
mod nats;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use chorus_telemetry::say;

use file::Supercluster;

/// Options of `chorus regions`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Write every node's nats-server configuration and every region's part of chorus-origin's.
    Render {
        /// The file of regions, as `deploy/regions.toml`.
        file: PathBuf,
        /// Where to write: `NODE/nats.conf` and `REGION/origin.toml`.
        #[arg(long)]
        out: PathBuf,
        /// Only say what would change.
        #[arg(long)]
        check: bool,
    },
}

/// Runs one of the commands.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Render { file, out, check } => render(&file, &out, check),
    }
}

/// With `check` the exit code is 1 when something would change.
fn render(file: &Path, out: &Path, check: bool) -> Result<ExitCode> {
    let supercluster = read(file)?;
    let mut changed = 0;
    for (name, text) in files(&supercluster) {
        let path = out.join(&name);
        let before = fs::read_to_string(&path).ok();
        if before.as_deref() == Some(&text) {
            continue;
        }
        changed += 1;
        let verb = if before.is_some() {
            "changes"
        } else {
            "is new"
        };
        say!("{} {verb}", path.display());
        if !check {
            write(&path, &text)?;
        }
    }
    let regions = supercluster.regions.len();
    let nodes: usize = supercluster.regions.iter().map(|it| it.nodes.len()).sum();
    say!("{regions} regions, {nodes} nodes, {changed} files to change");
    Ok(ExitCode::from(u8::from(check && changed > 0)))
}

fn read(file: &Path) -> Result<Supercluster> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Supercluster::read(&text).with_context(|| format!("{}", file.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(cannot)?;
    }
    fs::write(path, text).with_context(cannot)
}

/// The files by their path, with what is in each.
fn files(supercluster: &Supercluster) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for region in &supercluster.regions {
        let origin = nats::origin(supercluster, region);
        files.push((format!("{}/origin.toml", region.name), origin));
        for node in &region.nodes {
            let server = nats::server(supercluster, region, node);
            files.push((format!("{}/nats.conf", node.name), server));
        }
    }
    files
}
