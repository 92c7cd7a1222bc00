//! Another number of partitions: the region's events are made anew once the store holds all of them.
//!
//! A stream's events lie in one partition, so another number puts streams elsewhere. What the old partitions hold is
//! not moved: it must be in the store, then they are sealed, looked at again and removed. Resume tokens of before are a
//! gap, and so is nothing else.

use crate::log::{Log, LogError};
use crate::store::{Comments, StoreError, position_key};

/// Why the number of partitions cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The store does not hold all of the log.
    #[error(
        "`nats.partitions` is {wanted}, the region's events are in {found} and the store lacks {behind} of partition \
         {partition}: stop the gateways, let `persist` catch up with `nats.partitions = {found}`, then start again"
    )]
    Behind {
        /// As configured.
        wanted: u16,
        /// As they are.
        found: u16,
        /// Which one the store is behind.
        partition: u16,
        /// By so many sequences.
        behind: u64,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes way for the configured number of partitions, where the store holds all that the `found` ones do.
///
/// # Errors
/// When it does not, or one of both is away. What was done may be repeated.
pub async fn change_partitions(
    log: &dyn Log,
    store: &dyn Comments,
    found: u16,
) -> Result<(), ChangeError> {
    settled(log, store, found).await?;
    for partition in 0..found {
        log.seal(partition).await?;
    }
    // What was published in between is kept: the partitions are sealed and can be read.
    settled(log, store, found).await?;
    let region = log.region();
    let before = log.record(region).await?;
    for partition in 0..found {
        log.remove(partition).await?;
    }
    let Some((mut record, seq)) = before else {
        return Ok(());
    };
    record.partitions = log.registry().partitions();
    record.created_ms = 0;
    log.put_record(&record, seq).await?;
    tracing::info!(
        found,
        now = record.partitions,
        "the partitions are made anew"
    );
    Ok(())
}

/// Whether the store holds all of the partitions that are there.
async fn settled(log: &dyn Log, store: &dyn Comments, found: u16) -> Result<(), ChangeError> {
    let region = log.region();
    let record = log.record(region).await?.map(|(record, _)| record);
    let positions = store.positions().await?;
    for partition in 0..found {
        // A try before this one may have removed it.
        let Some(part) = log.part(region, partition).await? else {
            continue;
        };
        let epoch = record
            .as_ref()
            .map_or(part.created_ms, |record| record.epoch);
        let at = positions.get(&position_key(region, partition));
        let stored = at.filter(|at| at.epoch == epoch).map_or(0, |at| at.seq);
        let behind = part.last_seq.saturating_sub(stored);
        if behind > 0 {
            return Err(ChangeError::Behind {
                wanted: log.registry().partitions(),
                found,
                partition,
                behind,
            });
        }
    }
    Ok(())
}
