//! The PoPs connected to this gateway, and the lease that says so to all regions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chorus_protocol::presence::{BEAT_MS, GatewayLease, LEASE_POPS_MAX, Pop, PopState};

use super::follower::core::PopProcess;
use crate::lock::lock;
use crate::log::Log;
use crate::metrics::Metrics;

/// How long the log has to acknowledge a lease; the next one is tried then.
const WRITE_TIMEOUT: Duration = Duration::from_millis(BEAT_MS);

pub(super) struct Here {
    log: Arc<dyn Log>,
    metrics: Arc<Metrics>,
    /// This gateway's id within its region.
    id: String,
    pops: Mutex<BTreeMap<PopProcess, Pop>>,
}

impl Here {
    pub(super) fn new(log: Arc<dyn Log>, metrics: Arc<Metrics>, id: String) -> Self {
        Self {
            log,
            metrics,
            id,
            pops: Mutex::default(),
        }
    }

    pub(super) fn came(&self, process: &PopProcess, pop: Pop) {
        lock(&self.pops).insert(process.clone(), pop);
    }

    /// A process may be connected twice for a moment: the connection that came later counts.
    pub(super) fn went(&self, process: &PopProcess, pop: &Pop) {
        let mut pops = lock(&self.pops);
        if pops
            .get(process)
            .is_some_and(|known| known.since_ms == pop.since_ms)
        {
            pops.remove(process);
        }
    }

    pub(super) fn load(&self, process: &PopProcess, connections: u64, draining: bool) {
        if let Some(pop) = lock(&self.pops).get_mut(process) {
            pop.connections = connections;
            pop.state = if draining {
                PopState::Draining
            } else {
                PopState::Serving
            };
        }
    }

    /// Writes the lease each second, for ever.
    pub(super) async fn keep(&self) {
        let mut beat = tokio::time::interval(Duration::from_millis(BEAT_MS));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = 0;
        loop {
            beat.tick().await;
            count += 1;
            self.write(self.lease(count)).await;
        }
    }

    /// Says that this gateway ends, so that nobody waits for its lease to be over.
    pub(super) async fn give_back(&self) {
        self.write(Vec::new()).await;
    }

    fn lease(&self, beat: u64) -> Vec<u8> {
        let pops = lock(&self.pops);
        let left_out = pops.len().saturating_sub(LEASE_POPS_MAX);
        self.metrics
            .lease_pops_left_out
            .set(i64::try_from(left_out).unwrap_or(i64::MAX));
        let lease = GatewayLease {
            beat,
            pops: pops.values().take(LEASE_POPS_MAX).cloned().collect(),
        };
        // Names and numbers into memory cannot fail.
        rmp_serde::to_vec_named(&lease).unwrap_or_default()
    }

    async fn write(&self, body: Vec<u8>) {
        let written = self.log.lease_gateway(&self.id, body);
        let why = match tokio::time::timeout(WRITE_TIMEOUT, written).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no acknowledgement in time".to_owned(),
        };
        self.metrics.gateway_lease_failures.inc();
        tracing::debug!(why, "the gateway's lease was not written");
    }
}
