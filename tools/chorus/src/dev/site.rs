//! The regions of `chorus dev`: their names, addresses and files.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::ports::Ports;

/// The names, in order.
const NAMES: [&str; REGIONS_MAX as usize] = ["eu", "us", "ap"];
/// The name of one that is alone.
const ALONE: &str = "dev";
/// Regions on one machine.
pub(crate) const REGIONS_MAX: u8 = 3;

/// What is asked for.
pub(crate) struct Shape<'a> {
    /// How many regions.
    pub(crate) regions: u8,
    /// How many nats-servers in each.
    pub(crate) nodes: u8,
    /// Where the first region's viewers connect.
    pub(crate) listen: &'a str,
    /// The network whose hosts `eu`, `pop-eu`, … the programs run in.
    pub(crate) wan: Option<&'a str>,
}

/// Network namespaces of a region.
struct Places {
    origin: PathBuf,
    pop: PathBuf,
}

/// A region: nats-servers, an origin and a PoP.
pub(crate) struct Site {
    /// Its region's name.
    pub(crate) region: &'static str,
    /// Its place among the regions.
    pub(crate) index: usize,
    /// Where viewers connect.
    pub(crate) listen: SocketAddr,
    /// Of its nats-servers and its origin.
    pub(crate) ip: IpAddr,
    /// Of its programs.
    pub(crate) ports: Ports,
    alone: bool,
    places: Option<Places>,
    reserved: TcpListener,
}

impl Site {
    /// The regions with their ports, reserved until [`Site::release`]. The PoP of the first listens at `listen`, those of the
    /// others at the ports behind it, or at any free ones where the port is 0. In a network of `chorus wan` each PoP listens
    /// at its host's address.
    pub(crate) fn choose(shape: &Shape<'_>) -> Result<Vec<Self>> {
        let mut sites: Vec<Self> = Vec::new();
        let mut listen = shape.listen.to_owned();
        let any = listen.ends_with(":0");
        let is_one = shape.regions == 1;
        for (index, name) in NAMES.into_iter().take(shape.regions.into()).enumerate() {
            let (mut address, reserved) = super::free_listen(&listen)?;
            let next = if any {
                0
            } else {
                address.port().checked_add(1).context("no port is left")?
            };
            listen = SocketAddr::new(address.ip(), next).to_string();
            let region = if is_one { ALONE } else { name };
            let mut ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let mut places = None;
            if let Some(wan) = shape.wan {
                let (origin, pop) = hosts(wan, region)?;
                ip = origin.0;
                address.set_ip(pop.0);
                places = Some(Places {
                    origin: origin.1,
                    pop: pop.1,
                });
            }
            sites.push(Self {
                region,
                index,
                listen: address,
                ip,
                ports: Ports::choose(shape.nodes)?,
                alone: is_one && shape.nodes == 1,
                places,
                reserved,
            });
        }
        Ok(sites)
    }

    /// The name of one of its files or directories in the data directory.
    pub(crate) fn file(&self, name: &str) -> String {
        if self.alone {
            name.to_owned()
        } else {
            format!("regions/{}/{name}", self.region)
        }
    }

    /// What one of its programs is called; those of the first region have no suffix.
    pub(crate) fn name(&self, program: &str) -> String {
        if self.index == 0 {
            program.to_owned()
        } else {
            format!("{program}-{}", self.region)
        }
    }

    /// What one of its nats-servers is called; of several each has the region and a number, from 1.
    pub(crate) fn node_name(&self, program: &str, node: usize) -> String {
        if self.ports.nodes.len() == 1 {
            self.name(program)
        } else {
            format!("{program}-{}-{}", self.region, node + 1)
        }
    }

    /// The name of a file or directory of one of its nats-servers: `nats` or `nats-1`, and the ending.
    pub(crate) fn node_file(&self, node: usize, ending: &str) -> String {
        if self.ports.nodes.len() == 1 {
            self.file(&format!("nats{ending}"))
        } else {
            self.file(&format!("nats-{}{ending}", node + 1))
        }
    }

    /// The network namespace of its nats-servers and its origin, where it is not this process's.
    pub(crate) fn origin_netns(&self) -> Option<&Path> {
        Some(&self.places.as_ref()?.origin)
    }

    /// The network namespace of its PoP, where it is not this process's.
    pub(crate) fn pop_netns(&self) -> Option<&Path> {
        Some(&self.places.as_ref()?.pop)
    }

    /// Frees its ports for the programs.
    pub(crate) fn release(self) {
        self.ports.release();
        drop(self.reserved);
    }
}

/// The hosts `REGION` and `pop-REGION` of a network: address and namespace.
#[cfg(target_os = "linux")]
fn hosts(wan: &str, region: &str) -> Result<((IpAddr, PathBuf), (IpAddr, PathBuf))> {
    let of = |host: &str| -> Result<(IpAddr, PathBuf)> {
        let place = crate::wan::place(wan, host)?;
        Ok((place.address.into(), place.netns))
    };
    Ok((of(region)?, of(&format!("pop-{region}"))?))
}

#[cfg(not(target_os = "linux"))]
fn hosts(_: &str, _: &str) -> Result<((IpAddr, PathBuf), (IpAddr, PathBuf))> {
    anyhow::bail!("`chorus wan` needs Linux")
}
