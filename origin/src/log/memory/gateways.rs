//! Leases of gateways.

use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::presence::LEASE_MS;
use chorus_protocol::{Region, subject};

use super::Memory;
use super::stored::{Message, Put};
use crate::log::gateways::{leases_of, live_leases};
use crate::log::{Answer, GatewayLeases, GatewayWord, GatewayWords, LogError, Regional as _};

impl GatewayLeases for Memory {
    fn lease_gateway<'a>(&'a self, gateway: &'a str, body: Vec<u8>) -> Answer<'a, ()> {
        Box::pin(async move {
            let own = self.region();
            self.at(own, |_| Ok(())).await?;
            let log = subject::presence_log(own);
            let lease = |payload: Bytes| Message {
                subject: subject::gateway_lease(own, gateway),
                id: None,
                payload,
            };
            let put = self.world().put(own, &log, lease(body.into()), None)?;
            let Put::Stored { seq, .. } = put else {
                return Err(LogError::Refused("not stored".to_owned()));
            };
            let (this, region, ended) = (self.clone(), own.clone(), lease(Bytes::new()));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(LEASE_MS)).await;
                // Only where no other came behind it.
                let _ = this.world().put(&region, &log, ended, Some(seq));
            });
            Ok(())
        })
    }

    fn gateway_leases<'a>(&'a self, region: &'a Region) -> Answer<'a, Vec<GatewayWord>> {
        Box::pin(self.at(region, move |state| {
            let log = state.log(&subject::presence_log(region))?;
            let found = log.last_of(&leases_of(region)).into_iter();
            let words = found.filter_map(|(seq, message)| {
                GatewayWord::read(&message.subject, seq, message.payload.clone())
            });
            Ok(words.filter(|word| !word.body.is_empty()).collect())
        }))
    }

    fn follow_gateways(&self) -> Answer<'_, GatewayWords> {
        self.follow(live_leases(), |message| {
            GatewayWord::read(&message.subject, message.seq, message.payload)
        })
    }
}
