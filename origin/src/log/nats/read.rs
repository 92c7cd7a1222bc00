//! Reading the log by Direct Get: what follows a sequence, the last of many subjects, one message.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Message, StatusCode, header};
use bytes::Bytes;
use chorus_protocol::server::Reactions;
use chorus_protocol::{Event, Region, StreamId, subject};
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::json;

use super::{Nats, event, header_number, header_text};
use crate::log::mirror::log_of;
use crate::log::read::{PAGE_BYTES_MAX, PAGE_EVENTS_MAX};
use crate::log::{Answer, LogError, Read, Regional as _, Site, Tail};

/// Subjects asked for at once; the server refuses more than 1,024.
const SUBJECTS_MAX: usize = 500;
/// How often a replica that is behind its leader is asked again.
const BEHIND_TRIES: u32 = 5;

struct Raw {
    /// Which log it is from: a mirror may answer for its origin.
    log: String,
    seq: u64,
    subject: String,
    payload: Bytes,
}

impl Read for Nats {
    fn page<'a>(&'a self, site: &'a Site, from: u64, max: usize) -> Answer<'a, Vec<Event>> {
        Box::pin(async move {
            let Site { log, subject, .. } = site;
            let found = self.next_by_subject(log, subject, from, max).await?;
            if found.iter().all(|raw| raw.log == *log) {
                return Ok(events(&site.region, site.epoch, found));
            }
            // A mirror answered for its origin.
            self.page_from_leader(site, from, max).await
        })
    }

    /// A replica that answers may be a moment behind its leader, so the leader is asked how far the subject goes.
    fn settled<'a>(&'a self, site: &'a Site, after: u64, max: usize) -> Answer<'a, Tail> {
        Box::pin(async move {
            let mut tail = self.pages(site, after, max).await?;
            let own = self.region();
            if self.inner.config.replicas == 1 && site.holder(own) == own {
                return Ok(tail);
            }
            let last = self.leaders_last(site).await?.unwrap_or(0);
            for attempt in 0..BEHIND_TRIES {
                let reached = tail.last_seq().unwrap_or(after);
                if !tail.complete || reached >= last {
                    return Ok(tail);
                }
                tokio::time::sleep(Duration::from_millis(2 << attempt)).await;
                let room = max.saturating_sub(tail.events.len());
                let more = self.pages(site, reached, room).await?;
                tail.events.extend(more.events);
                tail.complete = more.complete;
            }
            self.tail_from_leader(site, tail, after, max).await
        })
    }

    fn written<'a>(&'a self, region: &'a Region) -> Answer<'a, u64> {
        Box::pin(async move {
            let mirror = self.registry().mirror_of(region);
            let partitions = match &mirror {
                Some(mirror) => mirror.partitions(),
                None => self.partitions_of(region)?,
            };
            let mirrored = mirror.is_some();
            let last = (0..partitions).map(|partition| async move {
                let log = log_of(self.region(), region, partition, mirrored);
                let ask = json!({"last_by_subj": subject::events_of(region, partition)});
                if let Some(message) = self.direct(&log, &ask).await?
                    && header_text(&message, header::NATS_STREAM) == Some(&log)
                {
                    return Ok(header_number(&message, header::NATS_SEQUENCE).unwrap_or(0));
                }
                let last = self.ask_leader(&log, &ask).await?;
                Ok::<u64, LogError>(last.map_or(0, |message| message.seq))
            });
            Ok(try_join_all(last).await?.into_iter().sum())
        })
    }

    fn last_seqs<'a>(
        &'a self,
        region: &'a Region,
        streams: &'a [StreamId],
    ) -> Answer<'a, BTreeMap<StreamId, u64>> {
        Box::pin(async move {
            let mut by_log: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for stream in streams {
                let site = self.registry().nearest(region, stream)?;
                by_log.entry(site.log).or_default().push(site.subject);
            }
            let mut last = BTreeMap::new();
            for (log, subjects) in by_log {
                for chunk in subjects.chunks(SUBJECTS_MAX) {
                    for (subject, seq) in self.last_events(&log, chunk).await? {
                        let stream = subject.rsplit('.').next().unwrap_or_default();
                        if let Ok(stream) = stream.parse() {
                            last.insert(stream, seq);
                        }
                    }
                }
            }
            Ok(last)
        })
    }

    fn reaction_totals<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
    ) -> Answer<'a, Reactions> {
        Box::pin(async move {
            let subjects = [subject::reaction(region, stream, "*")];
            let log = subject::reactions_log(region);
            let mut totals = Reactions::new();
            for raw in self.last_of(&log, &subjects).await? {
                let kind = raw.subject.rsplit('.').next().unwrap_or_default();
                if let Some(total) = counter_value(&raw.payload) {
                    totals.insert(kind.to_owned(), total);
                }
            }
            Ok(totals)
        })
    }

    fn event_at<'a>(
        &'a self,
        region: &'a Region,
        partition: u16,
        seq: u64,
    ) -> Answer<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let own = region == self.region();
            let mirrored = self.registry().mirror_of(region).is_some();
            let log = log_of(self.region(), region, partition, mirrored);
            let ask = json!({"seq": seq});
            if own || mirrored {
                for attempt in 0..BEHIND_TRIES {
                    if let Some(message) = self.direct(&log, &ask).await? {
                        return Ok(Some(message.payload.to_vec()));
                    }
                    if own && self.inner.config.replicas == 1 {
                        return Ok(None);
                    }
                    tokio::time::sleep(Duration::from_millis(2 << attempt)).await;
                }
            }
            let log = subject::events_log(region, partition);
            match self.ask_leader(&log, &ask).await? {
                Some(message) => Ok(Some(message.payload()?)),
                None => Ok(None),
            }
        })
    }

    fn all_after<'a>(
        &'a self,
        (region, partition, epoch): (&'a Region, u16, u64),
        after: u64,
        to: u64,
        max: usize,
    ) -> Answer<'a, Vec<Event>> {
        Box::pin(async move {
            let log = self.registry().log_here(region, partition);
            let subject = subject::events_of(region, partition);
            let found = self.next_by_subject(&log, &subject, after + 1, max).await?;
            let within = found.into_iter().take_while(|raw| raw.seq <= to);
            Ok(events(region, epoch, within))
        })
    }
}

impl Nats {
    fn partitions_of(&self, region: &Region) -> Result<u16, LogError> {
        if region == self.region() {
            return Ok(self.inner.registry.partitions());
        }
        let known = self.regions().remove(region);
        let known = known.ok_or_else(|| LogError::Away(format!("{region} is away")))?;
        Ok(known.partitions())
    }

    /// The last sequences of many subjects of a log of events, of those that have one.
    async fn last_events(
        &self,
        log: &str,
        subjects: &[String],
    ) -> Result<Vec<(String, u64)>, LogError> {
        let found = self.last_of(log, subjects).await?;
        if found.iter().all(|raw| raw.log == log) {
            return Ok(found
                .into_iter()
                .map(|raw| (raw.subject, raw.seq))
                .collect());
        }
        // A mirror answered for its origin.
        let mut last = Vec::new();
        for subject in subjects {
            let ask = json!({"last_by_subj": subject});
            let found = self.ask_leader(log, &ask).await?;
            last.extend(found.map(|message| (subject.clone(), message.seq)));
        }
        Ok(last)
    }

    /// The last message of one subject.
    pub(super) async fn last_payload(
        &self,
        log: &str,
        subject: &str,
    ) -> Result<Option<(u64, Bytes)>, LogError> {
        let message = self.direct(log, &json!({"last_by_subj": subject})).await?;
        Ok(message.and_then(|message| {
            let seq = header_number(&message, header::NATS_SEQUENCE)?;
            Some((seq, message.payload))
        }))
    }

    /// The last messages of many subjects, of those that have one.
    pub(super) async fn last_payloads(
        &self,
        log: &str,
        subjects: &[String],
    ) -> Result<Vec<(u64, Bytes)>, LogError> {
        let mut last = Vec::new();
        for chunk in subjects.chunks(SUBJECTS_MAX) {
            let found = self.last_of(log, chunk).await?.into_iter();
            last.extend(found.map(|raw| (raw.seq, raw.payload)));
        }
        Ok(last)
    }

    pub(super) async fn payloads_after(
        &self,
        log: &str,
        subject: &str,
        after: u64,
    ) -> Result<Vec<(u64, Bytes)>, LogError> {
        let found = self
            .next_by_subject(log, subject, after + 1, PAGE_EVENTS_MAX)
            .await?;
        Ok(found
            .into_iter()
            .map(|raw| (raw.seq, raw.payload))
            .collect())
    }

    async fn next_by_subject(
        &self,
        log: &str,
        subject: &str,
        from: u64,
        max: usize,
    ) -> Result<Vec<Raw>, LogError> {
        let batch = max.min(PAGE_EVENTS_MAX);
        let ask = json!({
            "seq": from, "batch": batch, "max_bytes": PAGE_BYTES_MAX, "next_by_subj": subject,
        });
        self.many(log, &ask).await
    }

    pub(super) async fn last_of_subjects(
        &self,
        log: &str,
        subject: &str,
    ) -> Result<Vec<(String, u64, Bytes)>, LogError> {
        let raw = self.last_of(log, &[subject.to_owned()]).await?;
        Ok(raw
            .into_iter()
            .map(|raw| (raw.subject, raw.seq, raw.payload))
            .collect())
    }

    async fn last_of(&self, log: &str, subjects: &[String]) -> Result<Vec<Raw>, LogError> {
        self.many(log, &json!({"multi_last": subjects})).await
    }

    async fn many(&self, log: &str, ask: &serde_json::Value) -> Result<Vec<Raw>, LogError> {
        if !self.connected() {
            return Err(LogError::Away("no connection".to_owned()));
        }
        let subject = format!("$JS.API.DIRECT.GET.{log}");
        let mut answer = self
            .inner
            .replies
            .ask(subject, ask.to_string().into())
            .await?;
        let mut found = Vec::new();
        loop {
            let message = answer.next().await?;
            match message.status.map(|status| status.as_u16()) {
                // Also said by an empty batch: nothing there.
                Some(204 | 404) => return Ok(found),
                Some(503) => return Err(LogError::Away("no responders".to_owned())),
                Some(status) => {
                    let why = message.description.unwrap_or_default();
                    return Err(LogError::Refused(format!("{status} {why}")));
                }
                None => found.push(raw(message)?),
            }
        }
    }

    async fn direct(
        &self,
        log: &str,
        ask: &serde_json::Value,
    ) -> Result<Option<Message>, LogError> {
        let subject = format!("$JS.API.DIRECT.GET.{log}");
        let message = self.call(subject, ask).await?;
        match message.status {
            None => Ok(Some(message)),
            Some(StatusCode::NOT_FOUND) => Ok(None),
            Some(status) => Err(LogError::Refused(format!(
                "{status} {}",
                message.description.unwrap_or_default()
            ))),
        }
    }

    pub(super) async fn call(
        &self,
        subject: String,
        ask: &serde_json::Value,
    ) -> Result<Message, LogError> {
        if !self.connected() {
            return Err(LogError::Away("no connection".to_owned()));
        }
        self.inner
            .client
            .request(subject, ask.to_string().into())
            .await
            .map_err(LogError::away)
    }
}

fn events(region: &Region, epoch: u64, found: impl IntoIterator<Item = Raw>) -> Vec<Event> {
    let events = found
        .into_iter()
        .map(|raw| event(region.clone(), epoch, raw.seq, &raw.payload));
    events.collect()
}

fn raw(message: Message) -> Result<Raw, LogError> {
    let seq = header_number(&message, header::NATS_SEQUENCE)
        .ok_or_else(|| LogError::Malformed("no sequence".to_owned()))?;
    let subject = header_text(&message, header::NATS_SUBJECT)
        .unwrap_or_default()
        .to_owned();
    let log = header_text(&message, header::NATS_STREAM).unwrap_or_default();
    Ok(Raw {
        log: log.to_owned(),
        seq,
        subject,
        payload: message.payload,
    })
}

#[derive(Deserialize)]
struct Counter {
    val: String,
}

/// The total a counter's message carries.
pub(super) fn counter_value(payload: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Counter>(payload)
        .ok()?
        .val
        .parse()
        .ok()
}
