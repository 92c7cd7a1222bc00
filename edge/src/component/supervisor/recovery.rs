//! What happens when a call traps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chorus_protocol::session::Replayed as SessionReplayed;

use super::super::bindings::exports::chorus::edge::session::{Close, Input, Output, Replayed};
use super::super::instance::{Fault, Instance, budget};
use super::{StartError, Supervisor, micros};

/// What a viewer is told whose input trapped.
const INTERNAL: u16 = 1011;
/// A replay may take this much longer than the calls it repeats: it went well once, and the machine may be busier now.
const REPLAY_FACTOR: u32 = 4;
/// Gives every life of a shard another seed: what hit the last one's hash tables misses the next one's.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Supervisor {
    /// Handles what is staged, after it trapped as a whole, one input at a time. Says how many calls trapped; `lost` is
    /// set when the state could not be brought back.
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
                self.lost = true;
            }
        }
        match done {
            Ok(()) if !self.lost => {
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
                self.lost = true;
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
        // With the state of now in a snapshot, each further trap costs no replay.
        if self.journal.inputs() > 0 && !self.take_snapshot() {
            self.rebuild()?;
        }
        for input in failed {
            if let Some((fault, input)) = self.single(input, outputs)? {
                *traps += 1;
                if *traps > 1 + self.bounds.traps_per_call_max {
                    return Err(fault);
                }
                tracing::error!(%fault, input = kind(&input), "an input traps by itself");
                self.punish(input, traps, outputs)?;
            }
        }
        Ok(())
    }

    /// Handles one input; gives it back when it trapped, with a working instance in place.
    fn single(
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

    /// Does without an input that traps.
    fn punish(
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
            // The viewer that waits for it gets the newest instead.
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
        if let Some((fault, input)) = self.single(instead, outputs)? {
            *traps += 1;
            tracing::error!(%fault, input = kind(&input), "and so does what stands in for it");
        }
        Ok(())
    }

    /// A new instance in the state of the last call that went well; during a swap's probation of the logic before the
    /// swap where the new logic cannot do it.
    pub(super) fn rebuild(&mut self) -> Result<(), Fault> {
        match self.replayed() {
            Ok(instance) => {
                self.adopt(instance);
                Ok(())
            }
            Err(_) if self.roll_back() => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    pub(super) fn adopt(&mut self, instance: Instance) {
        self.instance = instance;
        // It counts the journal again, from zero.
        self.counted.offset.clear();
    }

    pub(super) fn replayed(&self) -> Result<Instance, Fault> {
        let mut instance = Instance::new(&self.logic, &self.bounds)?;
        match &self.snapshot {
            Some(snapshot) => instance.restore(snapshot)?,
            None => instance.init(&self.init_config, self.seed)?,
        }
        for (now, inputs, bytes) in self.journal.calls() {
            // The host has carried out what is decided here a second time.
            let _ = instance.handle(budget(&self.bounds, bytes) * REPLAY_FACTOR, now, inputs)?;
        }
        Ok(instance)
    }

    /// A clean supervisor of the same logic and configuration, after a panic of the host: nothing of this one's state
    /// is used. `counted` is what the logic had counted.
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

    /// Begins anew with a clean instance. When even that fails the next batch tries again.
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
            self.adopt(instance);
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
