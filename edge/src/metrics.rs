//! What a PoP counts. Each shard counts for itself without a lock; the scrape adds up.

mod collect;
mod shard;

pub use collect::{PopCollector, registry};
pub use shard::{CLOSE_CODES, Histogram, Number, ShardMetrics};
