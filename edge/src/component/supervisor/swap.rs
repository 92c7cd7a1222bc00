//! Other logic under the open connections, and the way back.

use std::sync::Arc;
use std::time::Instant;

use chorus_protocol::Millis;

use super::super::instance::{Fault, Instance};
use super::super::logic::Logic;
use super::Supervisor;

/// Why the old logic goes on.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// The old logic could not say how it stands.
    #[error("the running logic gives no snapshot: {0}")]
    Snapshot(Fault),
    /// The new logic does not start on the old one's state.
    #[error("the new logic does not take over the state: {0}")]
    Restore(Fault),
    /// The new logic took the state over and cannot pass it on, so it could not be recovered.
    #[error("the new logic gives no snapshot: {0}")]
    SnapshotNew(Fault),
}

/// The time after a swap in which the logic before it can come back.
pub(super) struct Probation {
    before: Arc<Logic>,
    until: Millis,
    /// Calls of the new logic that trapped.
    pub(super) traps: u32,
}

impl Probation {
    pub(super) fn is_over(&self, now: Millis) -> bool {
        now >= self.until
    }
}

impl Supervisor {
    /// Puts `logic` in the place of the running one, between two batches, with all its state. The old one comes back by
    /// itself when the new one traps too often within its probation.
    ///
    /// # Errors
    /// [`SwapError`] says why the old logic goes on, as if nothing had been asked.
    pub fn swap(&mut self, logic: Arc<Logic>, now: Millis) -> Result<(), SwapError> {
        self.now = self.now.max(now);
        let swapped = self.try_swap(logic);
        match &swapped {
            Ok(()) => {
                self.stats.swaps += 1;
                tracing::info!(digest = self.logic.digest(), "session logic swapped");
            }
            Err(error) => {
                self.stats.swaps_failed += 1;
                tracing::error!(%error, "session logic not swapped; the running one goes on");
            }
        }
        swapped
    }

    fn try_swap(&mut self, logic: Arc<Logic>) -> Result<(), SwapError> {
        let began = Instant::now();
        let old = self
            .instance
            .snapshot()
            .and_then(|bytes| Ok((bytes, self.instance.stats()?)));
        let (bytes, own) = match old {
            Ok(old) => old,
            Err(fault) => {
                self.stats.snapshots_failed += 1;
                if self.rebuild().is_err() {
                    self.lost = true;
                }
                return Err(SwapError::Snapshot(fault));
            }
        };
        // Good for the old logic too, whatever becomes of the new one.
        self.install(bytes.clone(), own, began.elapsed());
        let began = Instant::now();
        let mut instance = Instance::new(&logic, &self.bounds).map_err(SwapError::Restore)?;
        instance.restore(&bytes).map_err(SwapError::Restore)?;
        let (bytes, own) = instance
            .snapshot()
            .and_then(|bytes| Ok((bytes, instance.stats()?)))
            .map_err(SwapError::SnapshotNew)?;
        self.adopt(instance);
        self.install(bytes, own, began.elapsed());
        let before = std::mem::replace(&mut self.logic, logic);
        self.probation = Some(Probation {
            before,
            until: self.now.plus(self.bounds.probation_s.saturating_mul(1_000)),
            traps: 0,
        });
        Ok(())
    }

    /// Puts the logic before the last swap back, on the new one's last good snapshot. `false` when there is none or it
    /// does not take over the state either.
    pub(super) fn roll_back(&mut self) -> bool {
        let Some(probation) = self.probation.take() else {
            return false;
        };
        let failed = std::mem::replace(&mut self.logic, probation.before);
        self.stats.rollbacks += 1;
        tracing::error!(
            from = failed.digest(),
            to = self.logic.digest(),
            traps = probation.traps,
            "session logic goes back to the one before the swap"
        );
        match self.replayed() {
            Ok(instance) => {
                self.adopt(instance);
                true
            }
            Err(fault) => {
                tracing::error!(%fault, "the logic before the swap does not take over either");
                false
            }
        }
    }
}
