//! Reasons to end a PoP: signals, and the end of the parent process.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Interval at which the parent process is checked.
const PARENT_LOOK: Duration = Duration::from_millis(250);

/// Waits for signals and, if wanted, for the end of the parent process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    parent: Option<Option<rustix::process::Pid>>,
}

/// Why the PoP is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A signal was received: drain.
    Signal,
    /// The parent process has ended: stop without a drain.
    Orphaned,
}

impl Signals {
    /// Installs the signal handlers; with `parent` the parent process is checked too.
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
            // The parent is polled because `PR_SET_PDEATHSIG` depends on the parent's thread, not on its process.
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
