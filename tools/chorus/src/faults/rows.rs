//! The rows: what is done to three regions, and what is expected.

use std::time::Duration;

/// What a row needs beside three regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The network of `chorus wan`: Linux, root, TUN.
    Wan,
    /// A tmpfs: root.
    Disk,
    /// Debian's `faketime`.
    Clock,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    Nothing,
    /// A signal to the node that leads the log of events, SIGCONT at the end.
    Leader(Signalled),
    /// A signal to programs, by their keys in `pids.json` without the region.
    Program(&'static str, Signalled),
    /// SIGKILL to every program of the region.
    Region,
    /// Links are cut: from, to, only that way.
    Cut(&'static [(&'static str, &'static str, bool)]),
    /// The disk of the region's first node is full.
    Full,
    /// The clock of the second region's PoP is wrong by so many seconds, to either side of 0.
    Clock(i32),
    /// The store of the region takes no writes.
    Store,
}

/// How a program is ended or held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signalled {
    /// SIGKILL.
    Killed,
    /// SIGSTOP, and SIGCONT when the fault is over.
    Frozen,
    /// SIGTERM.
    Stopped,
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) fault: Fault,
    pub(crate) need: Option<Need>,
    /// How long the fault lasts. What was killed comes back after it, too.
    pub(crate) lasts: Duration,
    /// The longest time without service.
    pub(crate) longest_max: Duration,
    /// What one side has cannot reach the other before the fault is over.
    pub(crate) splits: bool,
    /// One user writes the same under the same keys at two PoPs.
    pub(crate) twins: bool,
}

const fn row(name: &'static str, what: &'static str, fault: Fault) -> Row {
    Row {
        name,
        what,
        fault,
        need: None,
        lasts: Duration::from_secs(6),
        longest_max: Duration::from_secs(2),
        splits: false,
        twins: false,
    }
}

impl Row {
    /// The longest time from `durable` to every viewer.
    pub(crate) fn shown_max(&self) -> Duration {
        if self.splits {
            self.longest_max + self.lasts
        } else {
            self.longest_max
        }
    }
}

const EU_ALONE: &[(&str, &str, bool)] = &[
    ("eu", "us", false),
    ("eu", "ap", false),
    ("eu", "pop-eu", false),
    ("eu", "pop-us", false),
    ("eu", "pop-ap", false),
];
const POP_SILENCED: &[(&str, &str, bool)] = &[("pop-eu", "eu", true)];
const EU_APART: &[(&str, &str, bool)] = &[
    ("eu", "us", false),
    ("eu", "ap", false),
    ("eu", "pop-us", false),
    ("eu", "pop-ap", false),
    ("pop-eu", "us", false),
    ("pop-eu", "ap", false),
];

/// All rows, in their order.
pub(crate) fn all() -> Vec<Row> {
    let leader = Fault::Leader;
    let program = Fault::Program;
    vec![
        row("nothing", "nothing happens", Fault::Nothing),
        row(
            "leader-killed",
            "the node that leads a region's log is killed",
            leader(Signalled::Killed),
        ),
        row(
            "leader-frozen",
            "it is frozen (SIGSTOP), then goes on",
            leader(Signalled::Frozen),
        ),
        row(
            "leader-stopped",
            "it is told to stop (SIGTERM)",
            leader(Signalled::Stopped),
        ),
        Row {
            need: Some(Need::Disk),
            ..row(
                "disk-full",
                "the disk of a region's node is full",
                Fault::Full,
            )
        },
        Row {
            longest_max: Duration::from_secs(3),
            splits: true,
            ..row(
                "region-killed",
                "every program of a region is killed, also its PoP, and comes back",
                Fault::Region,
            )
        },
        Row {
            need: Some(Need::Wan),
            splits: true,
            ..row(
                "region-cut",
                "a region is cut off from the others and from its PoP",
                Fault::Cut(EU_ALONE),
            )
        },
        Row {
            longest_max: Duration::from_secs(3),
            ..row(
                "pop-killed",
                "a PoP is killed",
                program("edge", Signalled::Killed),
            )
        },
        row(
            "gateway-killed",
            "a region's gateway is killed",
            program("origin", Signalled::Killed),
        ),
        Row {
            need: Some(Need::Wan),
            ..row(
                "quic-silent",
                "what a PoP sends its gateway over QUIC is dropped silently",
                Fault::Cut(POP_SILENCED),
            )
        },
        Row {
            need: Some(Need::Clock),
            ..row(
                "clock-ahead",
                "a PoP's clock jumps ahead by 10 s and back",
                Fault::Clock(10),
            )
        },
        Row {
            need: Some(Need::Clock),
            ..row(
                "clock-behind",
                "a PoP's clock jumps back by 10 s and ahead",
                Fault::Clock(-10),
            )
        },
        Row {
            need: Some(Need::Wan),
            splits: true,
            twins: true,
            ..row(
                "same-key",
                "the same keys are posted at two PoPs while a region and its PoP are cut off: two logs take the same key",
                Fault::Cut(EU_APART),
            )
        },
        Row {
            lasts: Duration::from_secs(60),
            ..row(
                "store-away",
                "a region's store takes no writes for a minute",
                Fault::Store,
            )
        },
    ]
}
