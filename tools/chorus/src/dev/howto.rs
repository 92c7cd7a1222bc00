//! What `chorus dev` prints once all is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use chorus_telemetry::say;

use super::Sync;
use super::dir::DataDir;

/// The address at which this machine reaches a listener: loopback for an unspecified address.
pub(crate) fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if !ip.is_unspecified() => listen,
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port())),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, listen.port())),
    }
}

/// This program as a shell in the current directory calls it.
fn invoked() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&program);
    // A name without a path was found in PATH; a path is repeated as typed.
    let shown = name.display().to_string();
    if shown.contains([' ', '\'', '"', '$', '\\']) {
        format!("'{}'", shown.replace('\'', "'\\''"))
    } else {
        shown
    }
}

/// The address of a page.
pub(crate) fn url(listen: SocketAddr) -> String {
    format!("http://{}", reachable(listen))
}

/// Prints where the PoPs are and what to try.
pub(crate) fn print(pops: &[(&str, SocketAddr)], dir: &DataDir, sync: Sync) {
    let [(_, listen), others @ ..] = pops else {
        return;
    };
    let url = url(*listen);
    let regions = if others.is_empty() {
        String::new()
    } else {
        let of = |(region, listen): &(&str, SocketAddr)| {
            format!("\n  {region:<10}  http://{}/", reachable(*listen))
        };
        format!(
            "\n  Each region has its own page; what is written in one is seen in all:{}\n",
            pops.iter().map(of).collect::<String>()
        )
    };
    let chorus = invoked();
    let durable = match sync {
        Sync::ServerDefault => {
            "survives the kill of every process. It does not survive a loss of power: one node, and
  nats-server syncs to disk every two minutes; --sync always changes that."
        }
        Sync::Always => {
            "survives the kill of every process and a loss of power, not the loss of the disk."
        }
    };
    say!(
        "
Chorus is at {url}/

  Open it in two windows: both are on the stream `demo`.
{regions}  A token     curl -s -X POST {url}/api/dev/token -H 'content-type: application/json' -d '{{\"username\":\"ada\"}}'
  History     curl -s '{url}/api/streams/demo/comments?limit=20'
  Metrics     curl -s {url}/metrics
  Load        {chorus} load --url {url} --viewers 200 --rate 50

  Data        {} (logs and process ids are there too; --reset clears it)
  `durable` here means: {durable}

  Ctrl-C stops everything.",
        dir.path().display()
    );
}
