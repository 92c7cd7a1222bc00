//! Bounds of a component's resources and of its supervisor's journal.

use serde::{Deserialize, Serialize};

/// The named bounds of the component host, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// Bytes of an instance's memory. At the bound its allocations fail, so that it traps.
    pub memory_bytes_max: usize,
    /// Milliseconds of CPU that one call may take; beyond, it traps.
    pub cpu_ms_max: u64,
    /// Additional milliseconds of CPU for each MiB of a call's inputs, because a replay has thousands of comments.
    pub cpu_ms_per_mib: u64,
    /// Milliseconds of CPU that `init`, `snapshot` and `restore` may take; beyond, they trap.
    pub state_cpu_ms_max: u64,
    /// Inputs of one call. A larger batch is split into several calls, so that the CPU limit does not depend on the load.
    pub call_inputs_max: usize,
    /// Inputs in the journal at which a snapshot replaces it.
    pub journal_inputs_max: usize,
    /// Bytes in the journal at which a snapshot replaces it.
    pub journal_bytes_max: usize,
    /// Milliseconds that the journal's inputs took to handle, at which a snapshot replaces it. A recovery takes as long.
    pub journal_ms_max: u64,
    /// Inputs of one call that may trap when handled alone; one more resets the session.
    pub traps_per_call_max: u32,
    /// Seconds after a swap in which the former logic is kept for a rollback.
    pub probation_s: u64,
    /// Traps that the new logic may have within the probation; one more rolls the swap back.
    pub probation_traps_max: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            memory_bytes_max: 256 << 20,
            cpu_ms_max: 40,
            cpu_ms_per_mib: 20,
            state_cpu_ms_max: 200,
            call_inputs_max: 64,
            journal_inputs_max: 20_000,
            journal_bytes_max: 8 << 20,
            journal_ms_max: 80,
            traps_per_call_max: 8,
            probation_s: 60,
            probation_traps_max: 3,
        }
    }
}

impl Bounds {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first bound that is out of its range, by name.
    pub fn check(&self) -> Result<(), String> {
        let ranges = [
            (
                "memory_bytes_max",
                self.memory_bytes_max as u64,
                4 << 20,
                4 << 30,
            ),
            ("cpu_ms_max", self.cpu_ms_max, 1, 10_000),
            ("state_cpu_ms_max", self.state_cpu_ms_max, 1, 60_000),
            ("call_inputs_max", self.call_inputs_max as u64, 1, 65_536),
            (
                "journal_inputs_max",
                self.journal_inputs_max as u64,
                1,
                1 << 24,
            ),
            (
                "journal_bytes_max",
                self.journal_bytes_max as u64,
                1 << 10,
                1 << 30,
            ),
            ("journal_ms_max", self.journal_ms_max, 1, 10_000),
        ];
        for (name, value, least, most) in ranges {
            if value < least || value > most {
                return Err(format!("{name} is {value}, must be {least} to {most}"));
            }
        }
        Ok(())
    }
}
