//! Viewer counts between gateways: `presence.<region>.<gateway>.<stream>`, plain NATS, lost ones made good by the next.

use chorus_protocol::{StreamId, subject};
use futures_util::StreamExt as _;

use super::{Log, LogError};

/// What one gateway counts for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceReport {
    /// `<region>.<gateway>`.
    pub gateway: String,
    /// Which stream.
    pub stream: StreamId,
    /// Viewers at its PoPs.
    pub viewers: u64,
}

/// Reports as they come.
pub struct PresenceReports {
    subscriber: async_nats::Subscriber,
}

impl Log {
    /// Says how many viewers a gateway of this region counts.
    pub async fn report_presence(&self, gateway: &str, stream: &StreamId, viewers: u64) {
        if !self.connected() {
            return;
        }
        let subject = subject::presence(self.region(), gateway, stream);
        let sent = self
            .inner
            .client
            .publish(subject, viewers.to_string().into());
        if let Err(error) = sent.await {
            tracing::debug!(%error, "a viewer count was not sent");
        }
    }

    /// Follows the reports on one stream, or on all.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn follow_presence(
        &self,
        stream: Option<&StreamId>,
    ) -> Result<PresenceReports, LogError> {
        let stream = stream.map_or("*", StreamId::as_str);
        let subscriber = self.subscribe(format!("presence.*.*.{stream}")).await?;
        Ok(PresenceReports { subscriber })
    }
}

impl PresenceReports {
    /// Waits for a report. `None`: closed for good.
    pub async fn next(&mut self) -> Option<PresenceReport> {
        loop {
            let message = self.subscriber.next().await?;
            let mut parts = message.subject.splitn(4, '.').skip(1);
            let (Some(region), Some(gateway), Some(stream)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            let viewers = std::str::from_utf8(&message.payload)
                .ok()
                .and_then(|text| text.parse().ok());
            if let (Ok(stream), Some(viewers)) = (stream.parse(), viewers) {
                return Some(PresenceReport {
                    gateway: format!("{region}.{gateway}"),
                    stream,
                    viewers,
                });
            }
        }
    }
}
