//! The gateways that are alive, as their leases say it, and the PoPs connected to them, in all regions.
//!
//! `alive` decides who is; what is here reads the leases, at the start from the regions' logs and then live.

mod alive;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use chorus_protocol::Region;
use chorus_protocol::presence::Pop;
use futures_util::future::join_all;

use self::alive::Alive;
use crate::lock::lock;
use crate::log::{Log, LogError};
use crate::metrics::Metrics;

/// Clones are the same.
#[derive(Clone)]
pub(crate) struct Gateways {
    log: Arc<dyn Log>,
    metrics: Arc<Metrics>,
    alive: Arc<Mutex<Alive>>,
}

impl Gateways {
    pub(crate) fn new(log: Arc<dyn Log>, metrics: Arc<Metrics>) -> Self {
        Self {
            log,
            metrics,
            alive: Arc::default(),
        }
    }

    /// Keeps up with the leases, for ever; a region that is away costs its own gateways, once their leases are over.
    pub(crate) async fn follow(&self) {
        if let Err(error) = self.hear().await {
            tracing::warn!(%error, "the leases of gateways are not heard");
        }
    }

    async fn hear(&self) -> Result<(), LogError> {
        let mut words = self.log.follow_gateways().await?;
        let regions = self.log.all_regions();
        join_all(regions.iter().map(|region| self.read(region))).await;
        while let Some(word) = words.next().await {
            let taken = lock(&self.alive).take(Instant::now(), &word);
            if taken.is_err() {
                self.metrics.gateway_leases_dropped.inc();
            }
            let count = i64::try_from(self.alive().len()).unwrap_or(i64::MAX);
            self.metrics.gateways_alive.set(count);
        }
        Ok(())
    }

    /// What was written before we listened; each is written again within a second, so nothing hangs on it.
    async fn read(&self, region: &Region) {
        let asked = self.log.gateway_leases(region);
        match self.log.registry().of_peer(region, asked).await {
            Ok(words) => {
                let mut alive = lock(&self.alive);
                for word in words {
                    // One that cannot be read is counted when it comes live.
                    let _ = alive.take(Instant::now(), &word);
                }
            }
            Err(error) => tracing::debug!(%region, %error, "leases of gateways cannot be read yet"),
        }
    }

    /// The PoPs of all regions, by region and name.
    pub(crate) fn pops(&self) -> Vec<Pop> {
        lock(&self.alive).pops(Instant::now())
    }

    /// The gateways with a live lease, `<region>.<gateway>` each: what is to hold everywhere, each of them must have
    /// confirmed.
    pub(crate) fn alive(&self) -> Vec<String> {
        let alive = lock(&self.alive);
        alive.names(Instant::now()).map(str::to_owned).collect()
    }
}
