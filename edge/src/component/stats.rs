//! What a supervisor counted.

/// Numbers since the supervisor began; each only rises, but for `memory_bytes` and the journal's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls of `handle` into the component.
    pub calls: u64,
    /// Inputs handled.
    pub inputs: u64,
    /// Calls that trapped or passed their deadline.
    pub traps: u64,
    /// Viewers closed with 1011 because their input trapped.
    pub closed: u64,
    /// Inputs of no viewer that trapped and were skipped.
    pub skipped: u64,
    /// Times the instance was replaced and nothing else was lost.
    pub recoveries: u64,
    /// Microseconds the recoveries took.
    pub recovery_us: u64,
    /// Times the shard began anew.
    pub resets: u64,
    /// Swaps to other logic.
    pub swaps: u64,
    /// Swaps that did not come about.
    pub swaps_failed: u64,
    /// Times the logic before a swap came back by itself.
    pub rollbacks: u64,
    /// Snapshots taken.
    pub snapshots: u64,
    /// Snapshots that could not be taken.
    pub snapshots_failed: u64,
    /// Bytes of all snapshots.
    pub snapshot_bytes: u64,
    /// Microseconds the snapshots took.
    pub snapshot_us: u64,
    /// Answers to requests made before a reset, dropped.
    pub stale_answers: u64,
    /// Inputs in the journal now.
    pub journal_inputs: u64,
    /// Bytes in the journal now.
    pub journal_bytes: u64,
}
