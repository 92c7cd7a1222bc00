//! The file of regions: what it says and when it is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use chorus_protocol::{CommentId, Region as RegionName};
use serde::Deserialize;

/// Partitions of one region's log of events.
const PARTITIONS_MAX: u16 = 64;
const NAME_BYTES_MAX: usize = 32;
/// Nodes of a region from which its logs have three copies.
const NODES_OF_QUORUM: usize = 3;

/// When a server syncs what it stores to disk; the words are those of the origin's `nats.sync`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sync {
    /// Before it acknowledges.
    #[default]
    Always,
    /// Every two minutes.
    ServerDefault,
}

/// All regions that share their events.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Supercluster {
    #[serde(default)]
    pub(crate) sync: Sync,
    #[serde(default = "one")]
    pub(crate) partitions: u16,
    /// Where each machine keeps its files; where they are rendered when absent.
    pub(crate) directory: Option<PathBuf>,
    /// Where each node stores its logs; `jetstream` in its directory when absent.
    pub(crate) store: Option<PathBuf>,
    #[serde(default)]
    pub(crate) logs: Logs,
    pub(crate) regions: Vec<Region>,
}

/// What a region's logs must hold.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Logs {
    /// Events a second.
    pub(crate) events_per_s: u64,
    /// Bytes of one event in its log.
    pub(crate) events_bytes: u64,
    pub(crate) events_days: u64,
    /// Bytes of the control log: the last word on each stream.
    pub(crate) control_bytes: u64,
    /// Bytes of the counters: one total for each stream and type.
    pub(crate) reactions_bytes: u64,
    /// Bytes of the dead letters of 30 days.
    pub(crate) dead_bytes: u64,
    /// Bytes of the gateways' leases, in memory.
    pub(crate) presence_bytes: u64,
    /// Days that a mirror of another region's events keeps one.
    pub(crate) mirror_days: u64,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            events_per_s: 10_000,
            events_bytes: 650,
            events_days: 7,
            control_bytes: 1_000_000_000,
            reactions_bytes: 1_000_000_000,
            dead_bytes: 1_000_000_000,
            presence_bytes: 16_000_000,
            mirror_days: 2,
        }
    }
}

impl Logs {
    /// Bytes of one replica of a region's events; `None` when that is 0 or more than a log can have.
    pub(crate) fn events_bytes_max(self) -> Option<u64> {
        self.bytes_of_days(self.events_days)
    }

    /// Days that a mirror keeps an event: no longer than its log does.
    pub(crate) fn mirror_days(self) -> u64 {
        self.mirror_days.min(self.events_days)
    }

    /// The same of a mirror of them.
    pub(crate) fn mirror_bytes_max(self) -> Option<u64> {
        self.bytes_of_days(self.mirror_days())
    }

    fn bytes_of_days(self, days: u64) -> Option<u64> {
        let a_day = self
            .events_per_s
            .checked_mul(86_400)?
            .checked_mul(self.events_bytes)?;
        let bytes = a_day.checked_mul(days)?;
        // Room for the other logs in the server's limit, which is an i64, too.
        (bytes > 0 && bytes < 1 << 62).then_some(bytes)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Region {
    pub(crate) name: RegionName,
    /// First and last.
    pub(crate) workers: [u16; 2],
    pub(crate) nodes: Vec<Node>,
}

impl Region {
    /// Copies of each log.
    pub(crate) fn replicas(&self) -> usize {
        if self.nodes.len() >= NODES_OF_QUORUM {
            NODES_OF_QUORUM
        } else {
            1
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// How the others reach it: an address or a name.
    pub(crate) address: String,
    /// Copies of a log go to different ones.
    pub(crate) zone: String,
    #[serde(default = "client_port")]
    pub(crate) client_port: u16,
    #[serde(default = "route_port")]
    pub(crate) route_port: u16,
    #[serde(default = "gateway_port")]
    pub(crate) gateway_port: u16,
    #[serde(default = "monitor_port")]
    pub(crate) monitor_port: u16,
}

impl Node {
    /// Where `/healthz` answers: never to other machines.
    pub(crate) fn monitor(&self) -> String {
        let loopback = self
            .address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback());
        let host = if loopback { &self.address } else { "127.0.0.1" };
        format!("{host}:{}", self.monitor_port)
    }
}

const fn one() -> u16 {
    1
}

const fn client_port() -> u16 {
    4_222
}

const fn route_port() -> u16 {
    6_222
}

const fn gateway_port() -> u16 {
    7_222
}

const fn monitor_port() -> u16 {
    8_222
}

impl Supercluster {
    /// Reads and checks a file.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let read: Self = toml::from_str(text)?;
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.regions.is_empty(), "there is no region");
        let partitions = self.partitions;
        ensure!(
            (1..=PARTITIONS_MAX).contains(&partitions),
            "partitions is {partitions}, must be 1 to {PARTITIONS_MAX}"
        );
        ensure!(
            self.logs.events_bytes_max().is_some(),
            "logs: events_per_s × events_bytes × events_days must be above 0 and below 4 EiB"
        );
        let days = self.logs.events_days;
        ensure!(days <= 365, "logs: events_days is {days}, must be 1 to 365");
        let mirror_days = self.logs.mirror_days;
        ensure!(
            (1..=365).contains(&mirror_days),
            "logs: mirror_days is {mirror_days}, must be 1 to 365"
        );
        let Logs {
            control_bytes,
            reactions_bytes,
            dead_bytes,
            presence_bytes,
            ..
        } = self.logs;
        for (key, bytes) in [
            ("control_bytes", control_bytes),
            ("reactions_bytes", reactions_bytes),
            ("dead_bytes", dead_bytes),
        ] {
            let within = (1_000_000..=1 << 50).contains(&bytes);
            ensure!(within, "logs: {key} is {bytes}, must be 1,000,000 to 1 PiB");
        }
        ensure!(
            (1_000_000..=200_000_000).contains(&presence_bytes),
            "logs: presence_bytes is {presence_bytes}, must be 1,000,000 to 200,000,000"
        );
        for (key, path) in [("directory", &self.directory), ("store", &self.store)] {
            let relative = path.as_ref().is_some_and(|path| path.is_relative());
            ensure!(!relative, "{key} must be an absolute path");
        }
        self.check_names()?;
        self.check_workers()
    }

    fn check_names(&self) -> Result<()> {
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        let mut listens: BTreeMap<(&str, u16), &str> = BTreeMap::new();
        for region in &self.regions {
            let name = region.name.as_str();
            let place = format!("the region `{name}`");
            check_name("region", name)?;
            unique(&mut names, name, &place)?;
            ensure!(!region.nodes.is_empty(), "{place} has no node");
            let zones: BTreeSet<&str> = region.nodes.iter().map(|it| it.zone.as_str()).collect();
            ensure!(
                zones.len() >= region.replicas(),
                "{place}: its nodes are in {} zones, but three copies of a log go to three: nats-server would refuse the logs",
                zones.len()
            );
            for node in &region.nodes {
                let place = format!("the node `{}` of `{name}`", node.name);
                check_name("node", &node.name)?;
                check_name("zone", &node.zone).with_context(|| place.clone())?;
                unique(&mut names, &node.name, &place)?;
                let address = &node.address;
                let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
                ensure!(
                    !address.is_empty() && address.chars().all(fits),
                    "{place}: address `{address}` is no IPv4 address and no name"
                );
                let ports = [
                    node.client_port,
                    node.route_port,
                    node.gateway_port,
                    node.monitor_port,
                ];
                for port in ports {
                    if let Some(before) = listens.insert((address, port), &node.name) {
                        anyhow::bail!("{place}: {address}:{port} is taken by `{before}`");
                    }
                }
            }
        }
        ensure!(
            !names.contains_key(super::keys::AUTHORITY),
            "`{}` is the name of a directory of ours",
            super::keys::AUTHORITY
        );
        Ok(())
    }

    fn check_workers(&self) -> Result<()> {
        let max = CommentId::WORKER_MAX;
        for Region { name, workers, .. } in &self.regions {
            let [first, last] = workers;
            ensure!(
                first <= last && *last <= max,
                "the region `{name}`: workers are {workers:?}, must be first and last of 0 to {max}"
            );
        }
        let mut blocks: Vec<&Region> = self.regions.iter().collect();
        blocks.sort_by_key(|region| region.workers);
        for pair in blocks.windows(2) {
            ensure!(
                pair[0].workers[1] < pair[1].workers[0],
                "the worker blocks of `{}` and `{}` overlap: {:?} and {:?}",
                pair[0].name,
                pair[1].name,
                pair[0].workers,
                pair[1].workers
            );
        }
        Ok(())
    }
}

/// A name must be good for subjects, logs, server names and directories.
fn check_name(what: &str, name: &str) -> Result<()> {
    let fits = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    ensure!(
        fits && (1..=NAME_BYTES_MAX).contains(&name.len()),
        "{what} `{name}` must be 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -"
    );
    Ok(())
}

fn unique<'a>(names: &mut BTreeMap<&'a str, String>, name: &'a str, place: &str) -> Result<()> {
    if let Some(before) = names.insert(name, place.to_owned()) {
        anyhow::bail!("{place} has a name that is taken by {before}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(change: impl Fn(&str) -> String) -> Result<Supercluster> {
        let text = r#"
            partitions = 1
            [[regions]]
            name = "eu"
            workers = [0, 9]
            nodes = [{ name = "eu-1", address = "10.0.0.1", zone = "a" }]
            [[regions]]
            name = "us"
            workers = [10, 1023]
            nodes = [{ name = "us-1", address = "10.0.0.2", zone = "a" }]
        "#;
        Supercluster::read(&change(text))
    }

    #[test]
    fn what_is_wrong_is_refused_by_its_name() {
        assert!(regions(str::to_owned).is_ok());
        let three = "{ name = \"us-1\", address = \"h1\", zone = \"a\" }, { name = \"us-2\", address = \"h2\", zone = \"a\" }, \
                     { name = \"us-3\", address = \"h3\", zone = \"b\" }";
        let one = "{ name = \"us-1\", address = \"10.0.0.2\", zone = \"a\" }";
        for (from, to, said) in [
            ("name = \"us\"", "name = \"eu\"", "taken by the region `eu`"),
            ("us-1", "eu-1", "taken by the node `eu-1` of `eu`"),
            (
                "[10, 1023]",
                "[9, 1023]",
                "`eu` and `us` overlap: [0, 9] and [9, 1023]",
            ),
            (
                "[10, 1023]",
                "[10, 1024]",
                "must be first and last of 0 to 1023",
            ),
            ("[0, 9]", "[9, 0]", "must be first and last of 0 to 1023"),
            ("10.0.0.2", "10.0.0.1", "10.0.0.1:4222 is taken by `eu-1`"),
            ("10.0.0.2", "10.0.0.2:4222", "no IPv4 address and no name"),
            (
                "name = \"us\"",
                "name = \"US-east\"",
                "region `US-east` must be",
            ),
            ("us-1", "authority", "a directory of ours"),
            (
                "zone = \"a\"",
                "zone = \"a\", rack = 3",
                "unknown field `rack`",
            ),
            (one, three, "`us`: its nodes are in 2 zones"),
            ("partitions = 1", "partitions = 65", "must be 1 to 64"),
            ("partitions = 1", "directory = \"x\"", "an absolute path"),
            (
                "partitions = 1",
                "logs = { events_days = 0 }",
                "must be above 0",
            ),
            (
                "partitions = 1",
                "logs = { dead_bytes = 1 }",
                "dead_bytes is 1",
            ),
        ] {
            let refused = regions(|text| text.replace(from, to)).expect_err(said);
            let error = format!("{refused:#}");
            assert!(error.contains(said), "{to}: {error}");
        }
    }
}
