//! The PoP's port: one listener per shard, among which the kernel spreads the connections.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, per shard.
const BACKLOG: i32 = 4_096;

/// Listeners for this many shards; port 0 means one that is free, the same for all.
pub(super) fn listeners(
    address: SocketAddr,
    shards: usize,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // Listeners that share a port would share it with another PoP's too, and that nobody wants: the port must be free.
    let bound = bind(address, false)?
        .local_addr()?
        .as_socket()
        .unwrap_or(address);
    let mut listeners = Vec::new();
    for _ in 0..shards {
        let socket = bind(bound, shards > 1)?;
        socket.listen(BACKLOG)?;
        listeners.push(socket.into());
    }
    Ok((bound, listeners))
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // So that a restart need not wait for the old process's last connections.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit it, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Raises the limit of open files to what the system allows; says what it is then.
pub(super) fn raise_files_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_a_port_that_nobody_else_has() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (bound, first) = listeners(any, 3).expect("a port");
        assert_eq!(first.len(), 3);
        for listener in &first {
            assert_eq!(listener.local_addr().expect("bound"), bound);
        }
        assert!(listeners(bound, 3).is_err(), "another PoP");
        assert!(listeners(bound, 1).is_err(), "another PoP");
        drop(first);
        assert!(listeners(bound, 1).is_ok(), "a restart");
    }
}
