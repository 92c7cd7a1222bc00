//! Leases of gateways.

use std::time::Duration;

use async_nats::jetstream::stream::{Config as LogConfig, StorageType};
use async_nats::{HeaderMap, header};
use chorus_protocol::{Region, subject};
use futures_util::StreamExt as _;

use super::{Nats, header_number};
use crate::log::gateways::{LEASE_S, leases_of, live_leases};
use crate::log::{Answer, Feed, GatewayLeases, GatewayWord, GatewayWords, Regional as _};

/// How long the mark of an ended lease is kept; the server's least.
const ENDED_KEPT: Duration = Duration::from_secs(1);

impl GatewayLeases for Nats {
    fn lease_gateway<'a>(&'a self, gateway: &'a str, body: Vec<u8>) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut headers = HeaderMap::new();
            headers.insert(header::NATS_MESSAGE_TTL, LEASE_S.to_string());
            let subject = subject::gateway_lease(self.region(), gateway);
            let written = self.publish_and_wait(subject, headers, body.into());
            written.await.map(|_| ())
        })
    }

    fn gateway_leases<'a>(&'a self, region: &'a Region) -> Answer<'a, Vec<GatewayWord>> {
        Box::pin(async move {
            let log = subject::presence_log(region);
            let found = self.last_of_subjects(&log, &leases_of(region)).await?;
            let words = found
                .into_iter()
                .filter_map(|(subject, seq, body)| GatewayWord::read(&subject, seq, body));
            Ok(words.filter(|word| !word.body.is_empty()).collect())
        })
    }

    fn follow_gateways(&self) -> Answer<'_, GatewayWords> {
        Box::pin(async move {
            let subscriber = self.subscribe(live_leases()).await?;
            Ok(Feed::new(subscriber.filter_map(|message| {
                let seq = header_number(&message, header::NATS_SEQUENCE);
                let word = seq.and_then(|seq| {
                    GatewayWord::read(&message.subject, seq, message.payload.clone())
                });
                std::future::ready(word)
            })))
        })
    }
}

impl Nats {
    /// The log of the leases: in memory, because nothing in it lasts longer than a restart.
    pub(super) fn presence(&self) -> LogConfig {
        let region = self.region();
        LogConfig {
            storage: StorageType::Memory,
            max_bytes: self.inner.config.presence_bytes_max,
            max_messages_per_subject: 1,
            allow_message_ttl: true,
            allow_rollup: true,
            subject_delete_marker_ttl: Some(ENDED_KEPT),
            republish: Some(super::provision::live()),
            ..self.base(subject::presence_log(region), vec![leases_of(region)])
        }
    }
}
