//! The file of regions: what it says and when it is refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Worker numbers have 10 bits.
const WORKER_MAX: u16 = 1_023;
/// Partitions of one region's log of events.
const PARTITIONS_MAX: u16 = 64;
const NAME_BYTES_MAX: usize = 32;

/// When a server syncs what it stores to disk.
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
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) sync: Sync,
    #[serde(default = "one")]
    pub(crate) partitions: u16,
    /// Without it servers talk in the clear.
    pub(crate) tls: Option<Tls>,
    #[serde(default)]
    pub(crate) events: Events,
    pub(crate) regions: Vec<Region>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) directory: PathBuf,
}

/// What a region's log of events must hold.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Events {
    /// Events a second.
    pub(crate) per_s: u64,
    /// Bytes of one in the log.
    pub(crate) bytes: u64,
    pub(crate) days: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            per_s: 10_000,
            bytes: 650,
            days: 7,
        }
    }
}

impl Events {
    /// Bytes of one replica of a region's logs of events.
    pub(crate) fn bytes_max(self) -> u64 {
        self.per_s * self.bytes * self.days * 86_400
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Region {
    pub(crate) name: String,
    /// First and last.
    pub(crate) workers: [u16; 2],
    pub(crate) nodes: Vec<Node>,
}

impl Region {
    /// Copies of each log: what a quorum of three needs, or one.
    pub(crate) fn replicas(&self) -> usize {
        if self.nodes.len() >= 3 { 3 } else { 1 }
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
    #[serde(default = "store_dir")]
    pub(crate) store_dir: PathBuf,
}

fn one() -> u16 {
    1
}

fn client_port() -> u16 {
    4_222
}

fn route_port() -> u16 {
    6_222
}

fn gateway_port() -> u16 {
    7_222
}

fn monitor_port() -> u16 {
    8_222
}

fn store_dir() -> PathBuf {
    PathBuf::from("/var/lib/chorus/nats")
}

impl Supercluster {
    /// Reads and checks a file.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let read: Self = toml::from_str(text)?;
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<()> {
        check_name("name", &self.name)?;
        ensure!(!self.regions.is_empty(), "there is no region");
        let partitions = self.partitions;
        ensure!(
            (1..=PARTITIONS_MAX).contains(&partitions),
            "partitions is {partitions}, must be 1 to {PARTITIONS_MAX}"
        );
        let Events { per_s, bytes, days } = self.events;
        let product = per_s.checked_mul(bytes).and_then(|it| it.checked_mul(days));
        let fits = product.and_then(|it| it.checked_mul(86_400));
        ensure!(
            fits.is_some_and(|bytes| bytes > 0 && i64::try_from(bytes).is_ok()),
            "events: per_s × bytes × days must be above 0 and fit a log's size"
        );
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        let mut listens: BTreeMap<(&str, u16), &str> = BTreeMap::new();
        for region in &self.regions {
            let name = &region.name;
            let place = format!("the region `{name}`");
            check_name("region", name)?;
            unique(&mut names, name, &place)?;
            let [first, last] = region.workers;
            ensure!(
                first <= last && last <= WORKER_MAX,
                "{place}: workers are [{first}, {last}], must be first and last of 0 to {WORKER_MAX}"
            );
            ensure!(!region.nodes.is_empty(), "{place} has no node");
            for node in &region.nodes {
                let place = format!("the node `{}` of `{name}`", node.name);
                check_name("node", &node.name)?;
                check_name("zone", &node.zone).with_context(|| place.clone())?;
                unique(&mut names, &node.name, &place)?;
                ensure!(!node.address.is_empty(), "{place} has no address");
                let ports = [
                    node.client_port,
                    node.route_port,
                    node.gateway_port,
                    node.monitor_port,
                ];
                for port in ports {
                    let before = listens.insert((&node.address, port), &node.name);
                    ensure!(
                        before.is_none(),
                        "{place}: {}:{port} is taken by `{}`",
                        node.address,
                        before.unwrap_or_default()
                    );
                }
            }
        }
        self.check_workers()
    }

    fn check_workers(&self) -> Result<()> {
        let mut blocks: Vec<(&Region, [u16; 2])> =
            self.regions.iter().map(|it| (it, it.workers)).collect();
        blocks.sort_by_key(|(_, workers)| *workers);
        for pair in blocks.windows(2) {
            let [(before, [_, last]), (after, [first, _])] = pair else {
                continue;
            };
            ensure!(
                last < first,
                "the worker blocks of `{}` and `{}` overlap: {:?} and {:?}",
                before.name,
                after.name,
                before.workers,
                after.workers
            );
        }
        Ok(())
    }
}

/// A name must be good for subjects, logs and server names.
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
    let before = names.insert(name, place.to_owned());
    ensure!(
        before.is_none(),
        "{place} has a name that is taken by {}",
        before.unwrap_or_default()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(change: impl Fn(&str) -> String) -> Result<Supercluster> {
        let text = r#"
            name = "test"
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
            (
                "name = \"us\"",
                "name = \"US east\"",
                "region `US east` must be",
            ),
            (
                "zone = \"a\"",
                "zone = \"a\", rack = 3",
                "unknown field `rack`",
            ),
            (
                "name = \"test\"",
                "name = \"test\"\npartitions = 65",
                "must be 1 to 64",
            ),
            (
                "name = \"test\"",
                "name = \"test\"\nevents = { days = 0 }",
                "above 0",
            ),
        ] {
            let refused = regions(|text| text.replace(from, to)).expect_err(said);
            let error = format!("{refused:#}");
            assert!(error.contains(said), "{to}: {error}");
        }
    }
}
