//! Counters of a supervisor.

/// Numbers since the supervisor started. They only rise, except the journal's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls of `handle` into the component.
    pub calls: u64,
    /// Inputs handled.
    pub inputs: u64,
    /// Calls that trapped or passed their deadline.
    pub traps: u64,
    /// Viewers closed with 1011 because their input trapped when handled alone.
    pub closed: u64,
    /// Inputs that belong to no viewer, trapped when handled alone and were skipped.
    pub skipped: u64,
    /// Times the instance was replaced without loss of state.
    pub recoveries: u64,
    /// Microseconds the recoveries took.
    pub recovery_us: u64,
    /// Times the state was lost and the session restarted empty.
    pub resets: u64,
    /// Swaps to other logic.
    pub swaps: u64,
    /// Swaps that failed; the former logic continued.
    pub swaps_failed: u64,
    /// Swaps that were rolled back because the new logic trapped.
    pub rollbacks: u64,
    /// Snapshots taken.
    pub snapshots: u64,
    /// Snapshots that could not be taken.
    pub snapshots_failed: u64,
    /// Bytes of all snapshots.
    pub snapshot_bytes: u64,
    /// Microseconds the snapshots took.
    pub snapshot_us: u64,
    /// Dropped answers to requests of before a reset.
    pub stale_answers: u64,
    /// Inputs in the journal now.
    pub journal_inputs: u64,
    /// Bytes in the journal now.
    pub journal_bytes: u64,
}
