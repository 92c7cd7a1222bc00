//! What decides for a shard: the session component, or in tests and benches its core linked in.

use std::collections::BTreeMap;
use std::sync::Arc;

use chorus_protocol::Millis;

use crate::component::{Input, Logic, Output, Stats, Supervisor, Verdict};

/// Takes inputs in order, says what is to be done.
pub trait Brain {
    /// Empties `inputs` and appends to `outputs` what the host must carry out.
    fn handle(
        &mut self,
        now: Millis,
        inputs: &mut Vec<Input>,
        outputs: &mut Vec<Output>,
    ) -> Verdict;

    /// Work that may wait until the outputs are carried out.
    fn settle(&mut self);

    /// Replaces the logic under the open connections.
    ///
    /// # Errors
    /// Says why the old logic goes on.
    fn swap(&mut self, logic: Arc<Logic>, now: Millis) -> Result<(), String>;

    /// A clean one of the same logic, after a panic: this one's state is not to be trusted. It goes on counting from
    /// `counted`, and takes no answer to what this one asked for.
    ///
    /// # Errors
    /// Says why it does not start.
    fn fresh(&self, counted: BTreeMap<String, u64>) -> Result<Self, String>
    where
        Self: Sized;

    /// What the host of the logic counted.
    fn stats(&self) -> Stats;

    /// What the logic itself counted, by metric name.
    fn counted(&mut self) -> BTreeMap<String, u64>;
}

impl Brain for Supervisor {
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

    fn fresh(&self, counted: BTreeMap<String, u64>) -> Result<Self, String> {
        Self::fresh(self, counted).map_err(|error| error.to_string())
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }

    fn counted(&mut self) -> BTreeMap<String, u64> {
        Self::counted(self)
    }
}
