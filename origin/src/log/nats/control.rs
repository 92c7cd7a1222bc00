//! The control logs.

use async_nats::{HeaderMap, header};
use bytes::Bytes;
use chorus_protocol::stream::Life;
use chorus_protocol::{Region, StreamId, subject};

use super::Nats;
use crate::log::control::{lives_of, read_lives};
use crate::log::{Answer, Control};

impl Control for Nats {
    fn last_control<'a>(
        &'a self,
        region: &'a Region,
        subject: String,
    ) -> Answer<'a, Option<(u64, Bytes)>> {
        Box::pin(async move {
            self.last_payload(&subject::control_log(region), &subject)
                .await
        })
    }

    fn put_control(&self, subject: String, body: Vec<u8>, after: u64) -> Answer<'_, u64> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            after.to_string(),
        );
        // A refusal for the sequence reads as unknown.
        Box::pin(self.publish_and_wait(subject, headers, body.into()))
    }

    fn lives_after<'a>(&'a self, region: &'a Region, after: u64) -> Answer<'a, (Vec<Life>, u64)> {
        Box::pin(async move {
            let log = subject::control_log(region);
            let found = self.payloads_after(&log, &lives_of(region), after).await?;
            let to = found.last().map_or(after, |(seq, _)| *seq);
            Ok((read_lives(found), to))
        })
    }

    fn lives<'a>(&'a self, region: &'a Region, streams: &'a [StreamId]) -> Answer<'a, Vec<Life>> {
        Box::pin(async move {
            let log = subject::control_log(region);
            let subjects: Vec<String> = streams
                .iter()
                .map(|stream| subject::stream_life(region, stream))
                .collect();
            Ok(read_lives(self.last_payloads(&log, &subjects).await?))
        })
    }
}
