//! What a component may use, and what its supervisor may keep.

use serde::{Deserialize, Serialize};

/// The named bounds of the component host, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    /// Bytes of an instance's memory; growing further fails inside it, which makes it trap.
    pub memory_bytes_max: usize,
    /// Milliseconds of this thread's CPU a call may take; then it traps.
    pub cpu_ms_max: u64,
    /// Milliseconds a call may take more for each MiB of its inputs: a replay of thousands of comments is honest work.
    pub cpu_ms_per_mib: u64,
    /// Milliseconds of CPU `init`, `snapshot` and `restore` may take; then they trap.
    pub state_cpu_ms_max: u64,
    /// Inputs handed over in one call; more make several calls, so that a deadline means the same at any load.
    pub call_inputs_max: usize,
    /// Inputs in the journal from which a snapshot replaces it.
    pub journal_inputs_max: usize,
    /// Bytes in the journal from which a snapshot replaces it.
    pub journal_bytes_max: usize,
    /// Milliseconds of handling in the journal from which a snapshot replaces it: what a replay will take.
    pub journal_ms_max: u64,
    /// Inputs of one call that may trap by themselves; one more resets the shard.
    pub traps_per_call_max: u32,
    /// Seconds for which the logic before a swap is kept.
    pub probation_s: u64,
    /// Traps within the probation after which the logic before the swap comes back.
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
    /// Says what does not go together.
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
