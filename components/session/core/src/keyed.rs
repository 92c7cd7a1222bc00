//! Hash tables keyed by the shard's seed, so that nobody who picks ids can aim at them.

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;

/// A hash table of the session. Its iteration order must never reach an output: sort first.
pub(crate) type Map<K, V> = hashbrown::HashMap<K, V, SeedableRandomState>;

/// Makes tables keyed by one seed.
#[derive(Clone, Debug)]
pub(crate) struct Keyed {
    seed: u64,
    state: SeedableRandomState,
}

impl Keyed {
    pub(crate) fn new(seed: u64) -> Self {
        // Both halves depend on the seed: with foldhash's published shared constants one could craft texts that
        // collide under every seed. Lives as long as the instance, of which a shard makes one.
        let shared: &'static SharedSeed = Box::leak(Box::new(SharedSeed::from_u64(seed)));
        Self {
            seed,
            state: SeedableRandomState::with_seed(
                seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15,
                shared,
            ),
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn map<K, V>(&self) -> Map<K, V> {
        Map::with_hasher(self.state.clone())
    }
}
