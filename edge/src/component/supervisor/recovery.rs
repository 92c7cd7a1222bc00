//! Recovery after a trap, and the reset when a recovery fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chorus_protocol::session::Replayed as SessionReplayed;

use super::super::bindings::exports::chorus::edge::session::{Close, Input, Output, Replayed};
use super::super::instance::{Fault, Instance, budget};
use super::{StartError, Supervisor, micros};

/// The close code of a viewer whose input trapped.
const INTERNAL: u16 = 1011;
/// Factor by which a call's budget is larger when the journal is replayed: the call succeeded once, and the machine may be
/// busier now.
const REPLAY_FACTOR: u32 = 4;
/// Added to the seed at each reset, so that keys that collided in the last instance's hash tables do not collide again.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Supervisor {
    /// Handles the staged inputs one at a time, after they trapped as one call. Returns how many calls trapped; sets
    /// `state_lost` when the state could not be restored.
    pub(super) fn recover(&mut self, fault: &Fault, outputs: &mut Vec<Output>) -> u32 {
        let began = Instant::now();
        let failed = self.journal.unstage();
        self.stats.traps += 1;
        tracing::error!(%fault, inputs = failed.len(), "session logic trapped; recovering");
        let mut traps = 1;
        let done = self.recover_failed(failed, &mut traps, outputs);
        if let Some(probation) = &mut self.probation {
            probation.traps += traps;
            if probation.traps > self.bounds.probation_traps_max && !self.roll_back() {
                self.state_lost = true;
            }
        }
        match done {
            Ok(()) if !self.state_lost => {
                self.stats.recoveries += 1;
                self.stats.recovery_us += micros(began.elapsed());
                tracing::warn!(
                    traps,
                    us = micros(began.elapsed()),
                    "session logic recovered"
                );
            }
            Ok(()) => {}
            Err(fault) => {
                tracing::error!(%fault, "session logic cannot be brought back");
                self.state_lost = true;
            }
        }
        traps
    }

    fn recover_failed(
        &mut self,
        failed: Vec<Input>,
        traps: &mut u32,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        self.rebuild()?;
        // With the current state in a snapshot, a further trap needs no replay of the journal.
        if self.journal.inputs() > 0 && !self.take_snapshot() {
            self.rebuild()?;
        }
        for input in failed {
            if let Some((fault, input)) = self.handle_one(input, outputs)? {
                *traps += 1;
                if *traps > 1 + self.bounds.traps_per_call_max {
                    return Err(fault);
                }
                tracing::error!(%fault, input = kind(&input), "an input traps by itself");
                self.handle_substitute(input, traps, outputs)?;
            }
        }
        Ok(())
    }

    /// Handles one input. If it trapped, the instance is replaced and the input returned with its fault.
    fn handle_one(
        &mut self,
        input: Input,
        outputs: &mut Vec<Output>,
    ) -> Result<Option<(Fault, Input)>, Fault> {
        let bytes = self.journal.stage(&mut std::iter::once(input), 1);
        let Err(fault) = self.call(bytes, outputs) else {
            return Ok(None);
        };
        self.stats.traps += 1;
        let input = self.journal.unstage().pop();
        self.rebuild()?;
        Ok(input.map(|input| (fault, input)))
    }

    /// Handles a substitute for an input that traps: closes its viewer, answers a replay with a gap, or skips it.
    fn handle_substitute(
        &mut self,
        input: Input,
        traps: &mut u32,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let instead = match input {
            Input::Opened(super::super::Opened { connection, .. })
            | Input::Frame(super::super::Frame { connection, .. })
            | Input::Lagged(connection) => {
                self.stats.closed += 1;
                outputs.push(Output::Close(Close {
                    connection,
                    code: INTERNAL,
                    reason: "internal error".to_owned(),
                }));
                Input::Closed(connection)
            }
            // The viewer that waits for the replay gets the newest events instead.
            Input::Replayed(Replayed { request, .. }) => {
                self.stats.skipped += 1;
                let gap = SessionReplayed {
                    gap: true,
                    events: Vec::new(),
                };
                let Ok(data) = rmp_serde::to_vec_named(&gap) else {
                    return Ok(());
                };
                Input::Replayed(Replayed { request, data })
            }
            Input::Configured(_)
            | Input::Closed(_)
            | Input::Delivered(_)
            | Input::Control(_)
            | Input::Published(_)
            | Input::Counted(_)
            | Input::Timer => {
                self.stats.skipped += 1;
                return Ok(());
            }
        };
        if let Some((fault, input)) = self.handle_one(instead, outputs)? {
            *traps += 1;
            tracing::error!(%fault, input = kind(&input), "and so does what stands in for it");
        }
        Ok(())
    }

    /// Replaces the instance by a new one in the state after the last successful call. Within a swap's probation the
    /// former logic is used if the new logic fails.
    pub(super) fn rebuild(&mut self) -> Result<(), Fault> {
        match self.restored() {
            Ok(instance) => {
                self.replace_instance(instance);
                Ok(())
            }
            Err(_) if self.roll_back() => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    pub(super) fn replace_instance(&mut self, instance: Instance) {
        self.instance = instance;
        // The new instance counts the journal's inputs again, from zero.
        self.counted.offset.clear();
    }

    pub(super) fn restored(&self) -> Result<Instance, Fault> {
        let mut instance = Instance::new(&self.logic, &self.bounds)?;
        match &self.snapshot {
            Some(snapshot) => instance.restore(snapshot)?,
            None => instance.init(&self.init_config, self.seed)?,
        }
        for (now, inputs, bytes) in self.journal.calls() {
            // The outputs are dropped, because the host applied them after the first handling.
            let _ = instance.handle(budget(&self.bounds, bytes) * REPLAY_FACTOR, now, inputs)?;
        }
        Ok(instance)
    }

    /// A new supervisor with the same logic and configuration and an empty state, after a panic of the host. `counted`
    /// has the logic's counters so far.
    ///
    /// # Errors
    /// When the logic does not start.
    pub fn restarted(&self, counted: BTreeMap<String, u64>) -> Result<Self, StartError> {
        let mut restarted = Self::new(
            Arc::clone(&self.logic),
            &self.config,
            self.seed.wrapping_add(SEED_STEP),
            self.bounds.clone(),
        )?;
        restarted.generation = self.generation.wrapping_add(1).max(1);
        restarted.stats = self.stats;
        restarted.stats.resets += 1;
        restarted.counted.base = counted;
        Ok(restarted)
    }

    /// Starts a new, empty instance. When that fails, it is tried again with the next batch.
    pub(super) fn reset(&mut self, outputs: &mut Vec<Output>) {
        self.stats.resets += 1;
        self.generation = self.generation.wrapping_add(1).max(1);
        self.seed = self.seed.wrapping_add(SEED_STEP);
        self.journal.clear();
        self.snapshot = None;
        self.snapshot_backoff = 1;
        if let Ok(own) = self.instance.stats() {
            self.counted.base = self.counted.total(own);
        }
        self.init_config.clone_from(&self.config);
        let clean = Instance::new(&self.logic, &self.bounds).and_then(|mut instance| {
            instance.init(&self.init_config, self.seed)?;
            Ok(instance)
        });
        let told = clean.and_then(|instance| {
            self.replace_instance(instance);
            let mut known = self
                .lease
                .iter()
                .chain(&self.backhaul)
                .cloned()
                .map(Input::Control);
            let bytes = self.journal.stage(&mut known, usize::MAX);
            self.call(bytes, outputs)
        });
        match told {
            Ok(()) => tracing::error!("session logic lost its state; the shard begins anew"),
            Err(fault) => tracing::error!(%fault, "session logic does not start again"),
        }
    }
}

fn kind(input: &Input) -> &'static str {
    match input {
        Input::Configured(_) => "configured",
        Input::Opened(_) => "opened",
        Input::Frame(_) => "frame",
        Input::Closed(_) => "closed",
        Input::Lagged(_) => "lagged",
        Input::Delivered(_) => "delivered",
        Input::Control(_) => "control",
        Input::Replayed(_) => "replayed",
        Input::Published(_) => "published",
        Input::Counted(_) => "counted",
        Input::Timer => "timer",
    }
}
