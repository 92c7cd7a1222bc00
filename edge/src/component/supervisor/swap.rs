//! Swap: replaces the logic while connections stay open, and rolls back when the new logic traps.

use std::sync::Arc;
use std::time::Instant;

use chorus_protocol::Millis;

use super::super::instance::{Fault, Instance};
use super::super::logic::Logic;
use super::Supervisor;

/// Why a swap failed and the old logic continues.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// The old logic failed to write a snapshot.
    #[error("the running logic gives no snapshot: {0}")]
    Snapshot(Fault),
    /// The new logic failed to restore the old one's snapshot.
    #[error("the new logic does not take over the state: {0}")]
    Restore(Fault),
    /// The new logic failed to write a snapshot of the state, so that it could not be recovered after a trap.
    #[error("the new logic gives no snapshot: {0}")]
    SnapshotNew(Fault),
}

/// The time after a swap in which it can be rolled back.
pub(super) struct Probation {
    before: Arc<Logic>,
    until: Millis,
    /// Calls of the new logic that trapped so far.
    pub(super) traps: u32,
}

impl Probation {
    pub(super) fn is_over(&self, now: Millis) -> bool {
        now >= self.until
    }
}

impl Supervisor {
    /// Replaces the running logic by `logic`, between two batches; the state is kept. Rolled back when the new logic traps
    /// too often within its probation.
    ///
    /// # Errors
    /// Why the swap failed; the old logic continues with its state.
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
                    self.state_lost = true;
                }
                return Err(SwapError::Snapshot(fault));
            }
        };
        // The snapshot is stored for the old logic too, in case the swap fails.
        self.store_snapshot(bytes.clone(), own, began.elapsed());
        let began = Instant::now();
        let mut instance = Instance::new(&logic, &self.bounds).map_err(SwapError::Restore)?;
        instance.restore(&bytes).map_err(SwapError::Restore)?;
        let (bytes, own) = instance
            .snapshot()
            .and_then(|bytes| Ok((bytes, instance.stats()?)))
            .map_err(SwapError::SnapshotNew)?;
        self.replace_instance(instance);
        self.store_snapshot(bytes, own, began.elapsed());
        let before = std::mem::replace(&mut self.logic, logic);
        self.probation = Some(Probation {
            before,
            until: self.now.plus(self.bounds.probation_s.saturating_mul(1_000)),
            traps: 0,
        });
        Ok(())
    }

    /// Rolls the last swap back: the former logic restores the new one's last snapshot. `false` when no swap is on
    /// probation or the restore fails.
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
        match self.restored() {
            Ok(instance) => {
                self.replace_instance(instance);
                true
            }
            Err(fault) => {
                tracing::error!(%fault, "the logic before the swap does not take over either");
                false
            }
        }
    }
}
