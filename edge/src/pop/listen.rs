//! The PoP's port: one listener for each shard; the kernel distributes connections among them (`SO_REUSEPORT`).

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may be pending in the kernel before a shard accepts them, for each shard.
const BACKLOG: i32 = 4_096;

/// Opens a listener for each of this many shards. Port 0 means a free port, the same for all.
pub(super) fn listeners(
    address: SocketAddr,
    shards: usize,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // Listeners with `SO_REUSEPORT` would share the port with those of another PoP, so first check that it is free.
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
    // A restarted process can bind the port while connections of the old process are still closing.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit this option, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Raises the limit of open files to the system's maximum; returns the new limit, `None` when there is none.
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
