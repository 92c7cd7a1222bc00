//! The network file: hosts, links and a table of round trips between regions, read into a network.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use toml::Spanned;

use super::ends::{Ends, Host};
use super::link::{Change, Settings};
use super::network::Network;
use super::units::{Mbit, Millis, Probability, QueueBytes};

/// There is a link for each ordered pair.
const HOSTS_MAX: usize = 64;
/// Of a name, which is part of a namespace's.
const NAME_BYTES_MAX: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Decides all losses, jitters and the like.
    #[serde(default = "one")]
    seed: u64,
    /// A file of round trips between regions, relative to this one.
    regions: Option<Spanned<PathBuf>>,
    /// What holds for every link.
    #[serde(default)]
    default: Change,
    hosts: BTreeMap<String, Spanned<HostRow>>,
    /// Later ones win, setting by setting.
    #[serde(default)]
    links: Vec<Spanned<LinkRow>>,
}

const fn one() -> u64 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostRow {
    address: Ipv4Addr,
    region: Option<String>,
    /// The last mile: added to the delay of each link from and to this host, whatever gave that delay.
    access_ms: Option<Millis>,
}

/// `Change` with its ends. Flattened, serde would forget where in the file a value stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkRow {
    between: Option<[String; 2]>,
    from: Option<String>,
    to: Option<String>,
    delay_ms: Option<Millis>,
    jitter_ms: Option<Millis>,
    loss: Option<Probability>,
    reorder: Option<Probability>,
    reorder_ms: Option<Millis>,
    rate_mbit: Option<Mbit>,
    queue_bytes_max: Option<QueueBytes>,
}

impl LinkRow {
    fn ends(&self) -> Result<Ends> {
        match (&self.between, &self.from, &self.to) {
            (Some([one, other]), None, None) => Ok(Ends {
                from: one.clone(),
                to: Some(other.clone()),
                one_way: false,
            }),
            (None, Some(from), Some(to)) => Ok(Ends {
                from: from.clone(),
                to: Some(to.clone()),
                one_way: true,
            }),
            _ => bail!("`links` wants either `between`, or `from` and `to`"),
        }
    }

    fn change(&self) -> Change {
        Change {
            delay_ms: self.delay_ms,
            jitter_ms: self.jitter_ms,
            loss: self.loss,
            reorder: self.reorder,
            reorder_ms: self.reorder_ms,
            rate_mbit: self.rate_mbit,
            queue_bytes_max: self.queue_bytes_max,
        }
    }
}

/// Round trips between regions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Regions {
    /// Between two hosts of a region.
    within_ms: Millis,
    /// Each pair once, either way round.
    rtt_ms: BTreeMap<String, BTreeMap<String, Spanned<Millis>>>,
}

/// Reads a network file.
///
/// # Errors
/// What is wrong with it, with file, line and field.
pub(crate) fn load(path: &Path) -> Result<Network> {
    let text = read(path)?;
    let regions = |relative: &Path| {
        let path = path.parent().unwrap_or(Path::new("")).join(relative);
        let text = read(&path)?;
        parse_regions(&path.display().to_string(), &text)
    };
    parse(&path.display().to_string(), &text, regions)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

type RoundTrips = HashMap<(String, String), Millis>;

fn parse(
    name: &str,
    text: &str,
    regions: impl FnOnce(&Path) -> Result<RoundTrips>,
) -> Result<Network> {
    let file: File = toml::from_str(text).with_context(|| name.to_owned())?;
    let at = |offset: usize| place(name, text, offset);
    let hosts = hosts(&file).map_err(|(offset, why)| anyhow::anyhow!("{}: {why}", at(offset)))?;
    let mut settings = Settings::default();
    settings.apply(&file.default);
    let mut network = Network::new(hosts, file.seed, &settings);
    if let Some(path) = &file.regions {
        let round_trips = regions(path.get_ref())?;
        apply_regions(&mut network, &round_trips).with_context(|| at(path.span().start))?;
    }
    for row in &file.links {
        apply_row(&mut network, row.get_ref()).with_context(|| at(row.span().start))?;
    }
    for (host, row) in file.hosts.values().enumerate() {
        if let Some(access) = row.get_ref().access_ms {
            network.add_delay(host, access.duration());
        }
    }
    Ok(network)
}

fn place(name: &str, text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or_default();
    format!("{name}:{}", before.matches('\n').count() + 1)
}

/// Whether it may be part of a namespace's name and stand before a `*`.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// The hosts by name, or where in the file something is wrong.
fn hosts(file: &File) -> Result<Vec<Host>, (usize, String)> {
    let mut hosts: Vec<Host> = Vec::new();
    for (name, row) in &file.hosts {
        let wrong = |why: String| Err((row.span().start, format!("`hosts.{name}`: {why}")));
        let HostRow {
            address, region, ..
        } = row.get_ref();
        if !is_name(name) {
            return wrong(format!(
                "a name is 1 to {NAME_BYTES_MAX} of a-z, 0-9 and `-`"
            ));
        }
        if address.is_loopback()
            || address.is_multicast()
            || address.is_unspecified()
            || address.is_broadcast()
        {
            return wrong(format!("`address` {address} is not a host's"));
        }
        if let Some(other) = hosts.iter().find(|other| other.address == *address) {
            return wrong(format!("`address` {address} is that of {}", other.name));
        }
        if hosts.len() == HOSTS_MAX {
            return wrong(format!("more than {HOSTS_MAX} hosts"));
        }
        hosts.push(Host {
            name: name.clone(),
            region: region.clone(),
            address: *address,
        });
    }
    if hosts.len() < 2 {
        return Err((0, "`hosts` are fewer than two".to_owned()));
    }
    Ok(hosts)
}

fn apply_row(network: &mut Network, row: &LinkRow) -> Result<()> {
    let ends = row.ends()?;
    if let Some(unknown) = ends.unknown(network.hosts()) {
        bail!("`links` names {unknown}, which is no host or region here");
    }
    if network.change(&ends, &row.change()) == 0 {
        bail!("`links` means no link: both ends are the same host");
    }
    Ok(())
}

/// Gives links between hosts of known regions half the regions' round trip.
fn apply_regions(network: &mut Network, round_trips: &RoundTrips) -> Result<()> {
    let hosts: Vec<(String, String)> = network
        .hosts()
        .iter()
        .filter_map(|host| Some((host.name.clone(), host.region.clone()?)))
        .collect();
    for (from, from_region) in &hosts {
        for (to, to_region) in &hosts {
            let pair = (from_region.clone(), to_region.clone());
            let round_trip = round_trips.get(&pair).with_context(|| {
                format!(
                    "`regions` has no round trip of {from_region} ({from}) and {to_region} ({to})"
                )
            })?;
            let ends = Ends {
                from: from.clone(),
                to: Some(to.clone()),
                one_way: true,
            };
            let change = Change {
                delay_ms: Some(round_trip.half()),
                ..Change::default()
            };
            network.change(&ends, &change);
        }
    }
    Ok(())
}

/// Round trips both ways round and within each region.
fn parse_regions(name: &str, text: &str) -> Result<RoundTrips> {
    let regions: Regions = toml::from_str(text).with_context(|| name.to_owned())?;
    let mut round_trips = RoundTrips::new();
    for (one, row) in &regions.rtt_ms {
        for (other, round_trip) in row {
            let at = || place(name, text, round_trip.span().start);
            if one == other {
                bail!("{}: {one} has `within_ms` to itself", at());
            }
            for pair in [(one, other), (other, one)] {
                let pair = (pair.0.clone(), pair.1.clone());
                if round_trips.insert(pair, *round_trip.get_ref()).is_some() {
                    bail!("{}: {one} and {other} stand here twice", at());
                }
            }
            for region in [one, other] {
                round_trips.insert((region.clone(), region.clone()), regions.within_ms);
            }
        }
    }
    Ok(round_trips)
}
