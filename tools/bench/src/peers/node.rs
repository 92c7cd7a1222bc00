//! node with `ws`: published to by a WebSocket of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Dialects, END_MAX, Peer, START_MAX, find_program, installed};
use crate::load::dialect::Dialect;
use crate::sys;
use crate::sys::process::Process;
use crate::ws;

pub(super) fn start() -> Result<(Peer, Dialects)> {
    if !installed("node_modules/ws").is_dir() {
        bail!("the ws package is not installed (tools/bench/peers/install.sh)");
    }
    let mut command = Command::new(find_program("node")?);
    command.arg(installed("broadcast.js"));
    let mut process = Process::talking(command, sys::SERVER_CORE, END_MAX)?;
    let port = process.line("its port", START_MAX)?;
    let port: u16 = port.parse().context("node told no port")?;
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut peer = Peer {
        process,
        _files: None,
    };
    peer.ready(addr, 1)?;
    let dialects = Dialects {
        viewers: Dialect::websocket(addr, "/sub", &[]),
        publisher: Dialect::websocket(addr, "/pub", &[]),
        publish: |text| ws::client_frame(ws::TEXT, text.as_bytes()),
    };
    Ok((peer, dialects))
}
