//! node with `ws`: published to by a WebSocket of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Peer, Server, find_program, installed};
use crate::load::dialect::Dialect;
use crate::sys::child::Lines;
use crate::ws;

/// Its name in tables.
pub(super) const NAME: &str = "node ws";

/// Starts it.
pub(super) fn start() -> Result<Peer> {
    let node = find_program("node").context("node is not installed")?;
    if !installed("node_modules/ws").is_dir() {
        bail!("the ws package is not installed (tools/bench/peers/install.sh)");
    }
    let mut command = Command::new(node);
    command
        .arg(installed("broadcast.js"))
        .stdout(Stdio::piped());
    let mut server = Server::start(&mut command, None)?;
    let output = server.child.stdout.take().context("node has no output")?;
    let line = Lines::of("node", output).next("its port", Duration::from_secs(10))?;
    let addr = SocketAddr::from((
        Ipv4Addr::LOCALHOST,
        line.trim().parse().context("node told no port")?,
    ));
    server.ready(addr, 1)?;
    Ok(Peer {
        name: NAME,
        viewers: Some(Dialect::websocket(addr, "/sub", &[])),
        publisher: Some(Dialect::websocket(addr, "/pub", &[])),
        publish: |text| ws::client_frame(ws::TEXT, text.as_bytes()),
        server,
    })
}
