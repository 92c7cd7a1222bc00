//! The session logic of a shard: the component under its supervisor, or in tests and benchmarks a native implementation.

use std::collections::BTreeMap;
use std::sync::Arc;

use chorus_protocol::Millis;

use crate::component::{Input, Logic, Output, Stats, Supervisor, Verdict};

/// Handles inputs in order and returns outputs for the shard to apply.
pub trait SessionLogic {
    /// Handles and empties `inputs`, and appends to `outputs` what the host must apply.
    fn handle(
        &mut self,
        now: Millis,
        inputs: &mut Vec<Input>,
        outputs: &mut Vec<Output>,
    ) -> Verdict;

    /// Work that can wait until the outputs are applied, such as a snapshot.
    fn settle(&mut self);

    /// Replaces the logic; connections stay open and the state is kept.
    ///
    /// # Errors
    /// Why the new logic was not installed; the old logic continues.
    fn swap(&mut self, logic: Arc<Logic>, now: Millis) -> Result<(), String>;

    /// A new, empty session of the same logic, after a panic, because the state of this one may be inconsistent. Its
    /// counters continue from `counted`; it ignores answers to requests of this one.
    ///
    /// # Errors
    /// Why the logic does not start.
    fn restarted(&self, counted: BTreeMap<String, u64>) -> Result<Self, String>
    where
        Self: Sized;

    /// Counters of the component host.
    fn stats(&self) -> Stats;

    /// Counters of the logic itself, by metric name.
    fn counted(&mut self) -> BTreeMap<String, u64>;
}

impl SessionLogic for Supervisor {
    fn handle(
        &mut self,
        now: Millis,
        inputs: &mut Vec<Input>,
        outputs: &mut Vec<Output>,
    ) -> Verdict {
        Self::handle(self, now, inputs, outputs)
    }

    fn settle(&mut self) {
        Self::settle(self);
    }

    fn swap(&mut self, logic: Arc<Logic>, now: Millis) -> Result<(), String> {
        Self::swap(self, logic, now).map_err(|error| error.to_string())
    }

    fn restarted(&self, counted: BTreeMap<String, u64>) -> Result<Self, String> {
        Self::restarted(self, counted).map_err(|error| error.to_string())
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }

    fn counted(&mut self) -> BTreeMap<String, u64> {
        Self::counted(self)
    }
}
