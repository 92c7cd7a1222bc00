//! `chorus regions`: from one file of regions to the configuration, certificates and permissions of every server.

mod file;
mod keys;
mod logs;
mod nats;
mod roles;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use chorus_telemetry::say;

use file::Supercluster;
use roles::Role;

/// Options of `chorus regions`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Write what every machine of several regions needs, a directory for each.
    ///
    /// `NODE/nats.conf` is a nats-server's configuration, `REGION/ROLE.toml` the part of a chorus-origin's that is about
    /// NATS. Certificates that are missing are made; none is ever replaced. Run it again after a change of the file.
    Render {
        /// The file of regions.
        #[arg(default_value = "deploy/regions.toml")]
        file: PathBuf,
        /// Where to write.
        #[arg(long, default_value = ".chorus-regions")]
        out: PathBuf,
        /// Only say what would change; the exit code is 1 when something would.
        #[arg(long)]
        check: bool,
        /// Make no certificates: `ca.pem`, `roles.pem`, `node.*` and `ROLE.*` come from elsewhere.
        #[arg(long)]
        no_keys: bool,
    },
}

/// Runs one of the commands.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let Command::Render {
        file,
        out,
        check,
        no_keys,
    } = args.command;
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let supercluster = Supercluster::read(&text).with_context(|| format!("{}", file.display()))?;
    let out = std::path::absolute(out).context("a path that cannot be made absolute")?;
    let changed = write(&supercluster, &out, check)?;
    let made = if check || no_keys {
        0
    } else {
        keys::make(&supercluster, &out)?
    };
    for region in &supercluster.regions {
        let logs = logs::of(&supercluster, region);
        say!(
            "{:<20} {} nodes, {} copies of {} logs, {} on each node",
            region.name,
            region.nodes.len(),
            region.replicas(),
            logs.len(),
            logs::human(logs::node_bytes_max(&logs)),
        );
    }
    let verb = if check { "would change" } else { "changed" };
    say!(
        "{}: {changed} files {verb}, {made} certificates and keys made",
        out.display()
    );
    Ok(ExitCode::from(u8::from(check && changed > 0)))
}

/// Directories of servers that the file no longer names: they stay, and so do their logs.
fn leftover(files: &[(PathBuf, String)], out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out).into_iter().flatten().flatten();
    let confs = entries.map(|entry| entry.path().join("nats.conf"));
    let named = |conf: &PathBuf| files.iter().any(|(path, _)| path == conf);
    confs.filter(|conf| conf.exists() && !named(conf)).collect()
}

/// Writes the files that differ and says which; their number.
fn write(supercluster: &Supercluster, out: &Path, check: bool) -> Result<usize> {
    let mut changed = 0;
    let files = files(supercluster, out);
    for conf in leftover(&files, out) {
        say!("{} is of no node of the file; it stays", conf.display());
    }
    for (path, text) in files {
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
            let cannot = || format!("cannot write {}", path.display());
            fs::create_dir_all(path.parent().unwrap_or(out)).with_context(cannot)?;
            fs::write(&path, text).with_context(cannot)?;
        }
    }
    Ok(changed)
}

/// The files by their path, with what is in each.
fn files(supercluster: &Supercluster, out: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for region in &supercluster.regions {
        let directory = out.join(region.name.as_str());
        let installed = supercluster.directory.as_ref().unwrap_or(&directory);
        for role in Role::ALL {
            if !role.of_origin().is_empty() {
                let text = nats::origin(supercluster, region, role, installed);
                files.push((directory.join(format!("{}.toml", role.name())), text));
            }
        }
        for node in &region.nodes {
            let directory = out.join(&node.name);
            let installed = supercluster.directory.as_ref().unwrap_or(&directory);
            let text = nats::server(supercluster, region, node, installed);
            files.push((directory.join("nats.conf"), text));
        }
    }
    files
}
