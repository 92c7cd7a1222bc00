//! Free ports for nats-server and the origin.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Context, Result};

/// The first port to try. The ports are below the range of outgoing connections, so that none gets a chosen port before the
/// program starts.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// Ports of one process, at most.
const PORTS_MAX: u16 = 60;

/// The ports of a nats-server.
pub(crate) struct NodePorts {
    /// For NATS clients.
    pub(crate) clients: u16,
    /// For NATS monitoring.
    pub(crate) http: u16,
    /// For nats-servers of the same cluster.
    pub(crate) cluster: u16,
    /// For nats-servers of other regions.
    pub(crate) gateway: u16,
}

/// The chosen ports of a region, reserved until [`Ports::release`].
pub(crate) struct Ports {
    /// Of each nats-server.
    pub(crate) nodes: Vec<NodePorts>,
    /// For the origin's health and metrics.
    pub(crate) admin: u16,
    /// For the gateway's QUIC endpoint.
    pub(crate) gateway: u16,
    reserved: (Vec<TcpListener>, UdpSocket),
}

impl Ports {
    /// Chooses and reserves free ports for an origin and so many nats-servers.
    pub(crate) fn choose(nodes: u8) -> Result<Self> {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut tcp = Vec::new();
        let mut next = || -> Result<u16> {
            let listener = reserve_tcp(ip)?;
            let port = listener.local_addr()?.port();
            tcp.push(listener);
            Ok(port)
        };
        let mut of_nodes = Vec::new();
        for _ in 0..nodes {
            of_nodes.push(NodePorts {
                clients: next()?,
                http: next()?,
                cluster: next()?,
                gateway: next()?,
            });
        }
        let admin = next()?;
        let udp = search(|port| UdpSocket::bind((ip, port)).ok()).context("no free UDP port")?;
        Ok(Self {
            nodes: of_nodes,
            admin,
            gateway: udp.local_addr()?.port(),
            reserved: (tcp, udp),
        })
    }

    /// Frees the ports for the programs.
    pub(crate) fn release(self) {
        drop(self.reserved);
    }
}

/// Reserves a free TCP port until the listener is dropped.
pub(crate) fn reserve_tcp(ip: IpAddr) -> Result<TcpListener> {
    search(|port| TcpListener::bind((ip, port)).ok())
        .with_context(|| format!("no free TCP port on {ip}"))
}

/// Tries each port once, starting at one that depends on the process id. Between the release and the program's start a port
/// is not reserved, and another `chorus dev` that starts at this time should not try the same ports.
fn search<T>(bind: impl Fn(u16) -> Option<T>) -> Option<T> {
    let places = u32::from(COUNT / PORTS_MAX);
    let start = (std::process::id() % places) as u16 * PORTS_MAX;
    (0..COUNT).find_map(|step| bind(FIRST + (start + step) % COUNT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_free_after_release() {
        let ports = Ports::choose(1).expect("ports");
        let tcp = [ports.nodes[0].clients, ports.nodes[0].http, ports.admin];
        assert!(tcp[0] != tcp[1] && tcp[1] != tcp[2] && tcp[0] != tcp[2]);
        assert!(TcpListener::bind(("127.0.0.1", tcp[0])).is_err());
        ports.release();
        assert!(TcpListener::bind(("127.0.0.1", tcp[0])).is_ok());
    }
}
