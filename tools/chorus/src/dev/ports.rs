//! Free ports for what runs behind the PoP.

use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Context, Result};

/// Below the range from which outgoing connections take theirs, so that none takes a port between the choice and
/// the program's start.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// Ports of one process at the most.
const PORTS_MAX: u16 = 8;

/// The ports, held until [`Ports::release`] so that nobody else chooses them.
pub(crate) struct Ports {
    /// NATS clients.
    pub(crate) nats: u16,
    /// NATS monitoring.
    pub(crate) nats_http: u16,
    /// The origin's health and metrics.
    pub(crate) admin: u16,
    /// The gateway's QUIC.
    pub(crate) gateway: u16,
    held: (Vec<TcpListener>, UdpSocket),
}

impl Ports {
    /// Chooses them.
    pub(crate) fn choose() -> Result<Self> {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let tcp: Vec<TcpListener> = (0..3).map(|_| hold_tcp(ip)).collect::<Result<_>>()?;
        let udp = search(|port| UdpSocket::bind((ip, port)).ok()).context("no free UDP port")?;
        let port = |index: usize| -> Result<u16> { Ok(tcp[index].local_addr()?.port()) };
        Ok(Self {
            nats: port(0)?,
            nats_http: port(1)?,
            admin: port(2)?,
            gateway: udp.local_addr()?.port(),
            held: (tcp, udp),
        })
    }

    /// Lets them go for the programs to take.
    pub(crate) fn release(self) {
        drop(self.held);
    }
}

/// A free TCP port, held until this is dropped.
pub(crate) fn hold_tcp(ip: IpAddr) -> Result<TcpListener> {
    search(|port| TcpListener::bind((ip, port)).ok())
        .with_context(|| format!("no free TCP port on {ip}"))
}

/// Tries each port once, from a place of this process's own: between the choice and the program's start nobody holds
/// a port, and another `chorus dev` that starts then must not come by it.
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
        let ports = Ports::choose().expect("ports");
        let tcp = [ports.nats, ports.nats_http, ports.admin];
        assert!(tcp[0] != tcp[1] && tcp[1] != tcp[2] && tcp[0] != tcp[2]);
        assert!(TcpListener::bind(("127.0.0.1", tcp[0])).is_err());
        ports.release();
        assert!(TcpListener::bind(("127.0.0.1", tcp[0])).is_ok());
    }
}
