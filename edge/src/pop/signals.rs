//! What ends a PoP from outside: signals, and the end of the process that started it.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the parent is looked for.
const PARENT_LOOK: Duration = Duration::from_millis(250);

/// Tells when it is time to end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    parent: Option<Option<rustix::process::Pid>>,
}

/// Why it is time to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A signal: drain.
    Signal,
    /// The parent is gone: nobody waits for a drain.
    Orphaned,
}

impl Signals {
    /// Begins to listen; with `parent` also for the end of the process that started this one.
    pub(super) fn new(parent: bool) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            parent: parent.then(rustix::process::getppid),
        })
    }

    /// Waits for the next reason to end.
    pub(super) async fn next(&mut self) -> End {
        let parent = self.parent;
        let orphaned = async move {
            let Some(parent) = parent else {
                return std::future::pending().await;
            };
            // A death signal would be tied to the parent's thread, not to its process.
            while rustix::process::getppid() == parent {
                tokio::time::sleep(PARENT_LOOK).await;
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => End::Signal,
            _ = self.interrupt.recv() => End::Signal,
            () = orphaned => End::Orphaned,
        }
    }
}
