//! Viewer counts between gateways: `presence.<region>.<gateway>.<stream>`, plain NATS.

use async_nats::{Message, Subscriber};
use chorus_protocol::{StreamId, subject};
use futures_util::StreamExt as _;

use super::Nats;
use crate::log::{Feed, PresenceReport, PresenceReports, Regional as _};

impl Nats {
    pub(super) async fn report(&self, gateway: &str, stream: &StreamId, viewers: u64) {
        if !self.connected() {
            return;
        }
        let subject = subject::presence(self.region(), gateway, stream);
        let viewers = viewers.to_string().into();
        if let Err(error) = self.inner.client.publish(subject, viewers).await {
            tracing::debug!(%error, "a viewer count was not sent");
        }
    }
}

pub(super) fn reports(subscriber: Subscriber) -> PresenceReports {
    Feed::new(subscriber.filter_map(|message| std::future::ready(read(&message))))
}

fn read(message: &Message) -> Option<PresenceReport> {
    let mut parts = message.subject.splitn(4, '.').skip(1);
    let (region, gateway, stream) = (parts.next()?, parts.next()?, parts.next()?);
    Some(PresenceReport {
        gateway: format!("{region}.{gateway}"),
        stream: stream.parse().ok()?,
        viewers: std::str::from_utf8(&message.payload).ok()?.parse().ok()?,
    })
}
