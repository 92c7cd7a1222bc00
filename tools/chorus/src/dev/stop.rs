//! Stops the programs: the PoP first, so that it closes its viewers; nats-server last, so that pending publications are
//! stored.

use std::time::Duration;

use chorus_telemetry::complain;
use rustix::process::Signal;

use super::child::Child;

/// Stops the programs one after another, from the last started to the first.
pub(crate) async fn in_order(children: &mut [Child]) {
    for child in children.iter_mut().rev() {
        if child.ended().is_some() {
            continue;
        }
        child.signal(Signal::TERM);
        if wait(child, child.part.stop_max).await.is_none() {
            complain!(
                "chorus: {} did not stop within {} s: killed",
                child.part.name,
                child.part.stop_max.as_secs()
            );
            child.signal(Signal::KILL);
            child.wait().await;
        }
    }
}

/// Kills all programs.
pub(crate) async fn at_once(children: &mut [Child]) {
    for child in children.iter_mut() {
        child.signal(Signal::KILL);
    }
    for child in children {
        child.wait().await;
    }
}

async fn wait(child: &mut Child, within: Duration) -> Option<String> {
    tokio::time::timeout(within, child.wait()).await.ok()
}
