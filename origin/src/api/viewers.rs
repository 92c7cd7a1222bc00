//! Viewers per stream, summed over all gateways' reports.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chorus_protocol::StreamId;
use chorus_protocol::backhaul::VIEWING_MS;

use crate::lock::lock;
use crate::log::{Log, LogError};

/// A report not repeated for this long is gone.
const EXPIRY: Duration = Duration::from_millis(3 * VIEWING_MS);
/// Reports remembered; at the bound expired ones go, then new ones are let go.
const REPORTS_MAX: usize = 200_000;

type Reports = HashMap<StreamId, HashMap<String, (u64, Instant)>>;

#[derive(Default)]
pub(super) struct ViewerCounts {
    reports: Mutex<Reports>,
}

impl ViewerCounts {
    pub(super) async fn follow(&self, log: &dyn Log) -> Result<(), LogError> {
        let mut reports = log.follow_presence(None).await?;
        while let Some(report) = reports.next().await {
            let mut known = lock(&self.reports);
            if known.len() >= REPORTS_MAX {
                expire(&mut known);
            }
            if known.len() < REPORTS_MAX {
                let gateways = known.entry(report.stream).or_default();
                gateways.insert(report.gateway, (report.viewers, Instant::now()));
            }
        }
        Ok(())
    }

    /// Viewers of a stream as reported.
    pub(super) fn of(&self, stream: &StreamId) -> u64 {
        let known = lock(&self.reports);
        let fresh = known
            .get(stream)
            .into_iter()
            .flat_map(HashMap::values)
            .filter(|(_, at)| at.elapsed() < EXPIRY);
        fresh.fold(0, |sum, (viewers, _)| sum.saturating_add(*viewers))
    }
}

fn expire(reports: &mut Reports) {
    reports.retain(|_, gateways| {
        gateways.retain(|_, (_, at)| at.elapsed() < EXPIRY);
        !gateways.is_empty()
    });
}
