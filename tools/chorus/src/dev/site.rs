//! The regions of `chorus dev`: their names, addresses and files.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};

use super::ports::Ports;

/// The names, in order.
const NAMES: [&str; REGIONS_MAX as usize] = ["eu", "us", "ap"];
/// The name of one that is alone.
const ALONE: &str = "dev";
/// Regions on one machine.
pub(crate) const REGIONS_MAX: u8 = 3;

/// A region: a nats-server, an origin and a PoP.
pub(crate) struct Site {
    /// Its region's name.
    pub(crate) region: &'static str,
    /// Its place among the regions.
    pub(crate) index: usize,
    /// Where viewers connect.
    pub(crate) listen: SocketAddr,
    /// Of its programs.
    pub(crate) ports: Ports,
    alone: bool,
    reserved: TcpListener,
}

impl Site {
    /// The regions with their ports, reserved until [`Site::release`]. The PoP of the first listens at `listen`, those of the
    /// others at the ports behind it, or at any free ones where the port is 0.
    pub(crate) fn choose(count: u8, listen: &str) -> Result<Vec<Self>> {
        let mut sites: Vec<Self> = Vec::new();
        let mut listen = listen.to_owned();
        let any = listen.ends_with(":0");
        for (index, name) in NAMES.into_iter().take(count.into()).enumerate() {
            let (address, reserved) = super::free_listen(&listen)?;
            let next = if any {
                0
            } else {
                address.port().checked_add(1).context("no port is left")?
            };
            listen = SocketAddr::new(address.ip(), next).to_string();
            sites.push(Self {
                region: if count == 1 { ALONE } else { name },
                index,
                listen: address,
                ports: Ports::choose()?,
                alone: count == 1,
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

    /// Frees its ports for the programs.
    pub(crate) fn release(self) {
        self.ports.release();
        drop(self.reserved);
    }
}
