//! Reading the log by Direct Get: what follows a sequence, the last of many subjects, one message.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Message, StatusCode, header};
use bytes::Bytes;
use chorus_protocol::server::Reactions;
use chorus_protocol::{Event, Region, StreamId, subject};
use serde::Deserialize;
use serde_json::json;

use super::{
    Log, LogError, event, event_subject, event_subjects, events_log, header_number, header_text,
};

/// Messages asked for at once.
const BATCH: usize = 1_000;
/// Bytes asked for at once: the answer waits in memory.
const BATCH_BYTES: usize = 4 << 20;
/// Subjects asked for at once; the server refuses more than 1,024.
const SUBJECTS_MAX: usize = 500;
/// How often a replica that is behind its leader is asked again.
const BEHIND_TRIES: u32 = 5;

/// What a log holds of one stream after a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// In the order of the log.
    pub events: Vec<Event>,
    /// False when there is more than was asked for.
    pub complete: bool,
}

impl Tail {
    /// The last sequence read.
    #[must_use]
    pub fn last_seq(&self) -> Option<u64> {
        self.events.last().map(|event| event.seq)
    }
}

struct Raw {
    seq: u64,
    subject: String,
    payload: Bytes,
}

impl Log {
    /// What a region's log holds of a stream in `(after, …)`, at most `max` events.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn tail(
        &self,
        region: &Region,
        stream: &StreamId,
        after: u64,
        max: usize,
    ) -> Result<Tail, LogError> {
        let epoch = self.known_epoch(region)?;
        let subject = event_subject(region, stream);
        let log = events_log(region);
        let mut tail = Tail::default();
        let mut from = after + 1;
        loop {
            let room = max.saturating_add(1) - tail.events.len();
            let batch = self
                .next_by_subject(&log, &subject, from, room.min(BATCH))
                .await?;
            let Some(last) = batch.last() else {
                tail.complete = true;
                return Ok(tail);
            };
            from = last.seq + 1;
            tail.events.extend(
                batch
                    .iter()
                    .map(|raw| event(region.clone(), epoch, raw.seq, &raw.payload)),
            );
            if tail.events.len() > max {
                tail.events.truncate(max);
                return Ok(tail);
            }
        }
    }

    /// As [`Log::tail`], but certain to hold all that was acknowledged before the call: a replica that answers may be
    /// a moment behind its leader, so the leader is asked how far the subject goes.
    ///
    /// # Errors
    /// When the log is away, or the replicas stay behind.
    pub async fn settled_tail(
        &self,
        region: &Region,
        stream: &StreamId,
        after: u64,
        max: usize,
    ) -> Result<Tail, LogError> {
        let mut tail = self.tail(region, stream, after, max).await?;
        if self.inner.config.replicas == 1 && region == self.region() {
            return Ok(tail);
        }
        let last = self.leaders_last(region, stream).await?.unwrap_or(0);
        for attempt in 0..BEHIND_TRIES {
            let reached = tail.last_seq().unwrap_or(after);
            if !tail.complete || reached >= last {
                return Ok(tail);
            }
            tokio::time::sleep(Duration::from_millis(2 << attempt)).await;
            let more = self
                .tail(
                    region,
                    stream,
                    reached,
                    max.saturating_sub(tail.events.len()),
                )
                .await?;
            tail.events.extend(more.events);
            tail.complete = more.complete;
        }
        self.tail_from_leader(region, stream, tail, after, max)
            .await
    }

    /// The last sequence of any event in a region's log.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn last_seq(&self, region: &Region) -> Result<u64, LogError> {
        let log = events_log(region);
        let last = self.last_payload(&log, &event_subjects(region)).await?;
        Ok(last.map_or(0, |(seq, _)| seq))
    }

    /// The last sequence of every stream's subject, of those that have one.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn last_seqs(
        &self,
        region: &Region,
        streams: &[StreamId],
    ) -> Result<BTreeMap<StreamId, u64>, LogError> {
        let log = events_log(region);
        let mut last = BTreeMap::new();
        for chunk in streams.chunks(SUBJECTS_MAX) {
            let subjects: Vec<String> = chunk
                .iter()
                .map(|stream| event_subject(region, stream))
                .collect();
            for raw in self.last_of(&log, &subjects).await? {
                let stream = raw.subject.rsplit('.').next().unwrap_or_default();
                if let Ok(stream) = stream.parse() {
                    last.insert(stream, raw.seq);
                }
            }
        }
        Ok(last)
    }

    /// A stream's reaction totals in one region's counters.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn reaction_totals(
        &self,
        region: &Region,
        stream: &StreamId,
    ) -> Result<Reactions, LogError> {
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
    }

    /// The body at a sequence of this region's events.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn event_at(&self, seq: u64) -> Result<Option<Vec<u8>>, LogError> {
        let log = events_log(self.region());
        for attempt in 0..BEHIND_TRIES {
            let ask = json!({"seq": seq});
            let message = self.direct(&log, &ask).await?;
            if let Some(message) = message {
                return Ok(Some(message.payload.to_vec()));
            }
            if self.inner.config.replicas == 1 {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(2 << attempt)).await;
        }
        match self.ask_leader(&log, &json!({"seq": seq})).await? {
            Some(message) => Ok(Some(message.payload()?)),
            None => Ok(None),
        }
    }

    /// Every event of a region's log in `(after, to]`, whatever its stream, at most `max`.
    ///
    /// # Errors
    /// When the log is away.
    pub async fn all_after(
        &self,
        region: &Region,
        after: u64,
        to: u64,
        max: usize,
    ) -> Result<Vec<Event>, LogError> {
        let epoch = self.known_epoch(region)?;
        let log = events_log(region);
        let subject = event_subjects(region);
        let raw = self
            .next_by_subject(&log, &subject, after + 1, max.min(BATCH))
            .await?;
        Ok(raw
            .into_iter()
            .take_while(|raw| raw.seq <= to)
            .map(|raw| event(region.clone(), epoch, raw.seq, &raw.payload))
            .collect())
    }

    pub(super) fn known_epoch(&self, region: &Region) -> Result<u64, LogError> {
        self.epoch(region)
            .ok_or_else(|| LogError::Away(format!("the log of {region} was not seen yet")))
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
        let found = self.next_by_subject(log, subject, after + 1, BATCH).await?;
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
        batch: usize,
    ) -> Result<Vec<Raw>, LogError> {
        let ask = json!({
            "seq": from, "batch": batch, "max_bytes": BATCH_BYTES, "next_by_subj": subject,
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

fn raw(message: Message) -> Result<Raw, LogError> {
    let seq = header_number(&message, header::NATS_SEQUENCE)
        .ok_or_else(|| LogError::Malformed("no sequence".to_owned()))?;
    let subject = header_text(&message, header::NATS_SUBJECT)
        .unwrap_or_default()
        .to_owned();
    Ok(Raw {
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
