//! Metrics of a PoP. Each shard counts for itself without a lock; a scrape sums over the shards.

mod collect;
mod shard;

pub use collect::{PopCollector, registry};
pub use shard::{CLOSE_CODES, Histogram, Number, ShardMetrics};
