//! Asking a log's leader, where a replica may be a moment behind it.

use chorus_protocol::Event;
use serde::Deserialize;
use serde_json::json;

use super::{Nats, event};
use crate::log::{LogError, Site, Tail};

/// Messages of one page: each is a round trip.
const PAGE_MAX: usize = 100;

impl Nats {
    /// Goes on where the replicas stayed behind, one message at a time from the leader.
    pub(super) async fn tail_from_leader(
        &self,
        site: &Site,
        mut tail: Tail,
        after: u64,
        max: usize,
    ) -> Result<Tail, LogError> {
        tail.complete = false;
        while tail.events.len() < max {
            let from = tail.last_seq().unwrap_or(after) + 1;
            let page = self.page_from_leader(site, from, max - tail.events.len());
            let page = page.await?;
            if page.is_empty() {
                tail.complete = true;
                break;
            }
            tail.events.extend(page);
        }
        Ok(tail)
    }

    /// Events of a stream from a sequence on, at most [`PAGE_MAX`]; none when there is none.
    pub(super) async fn page_from_leader(
        &self,
        site: &Site,
        from: u64,
        max: usize,
    ) -> Result<Vec<Event>, LogError> {
        let mut page = Vec::new();
        let mut from = from;
        while page.len() < max.min(PAGE_MAX) {
            let ask = json!({"seq": from, "next_by_subj": site.subject});
            let Some(message) = self.ask_leader(&site.log, &ask).await? else {
                break;
            };
            from = message.seq + 1;
            let body = message.payload()?;
            page.push(event(site.region.clone(), site.epoch, message.seq, &body));
        }
        Ok(page)
    }

    /// How far a stream's subject goes.
    pub(super) async fn leaders_last(&self, site: &Site) -> Result<Option<u64>, LogError> {
        let ask = json!({"last_by_subj": site.subject});
        Ok(self.ask_leader(&site.log, &ask).await?.map(|m| m.seq))
    }

    /// One message; `None` when there is none.
    pub(super) async fn ask_leader(
        &self,
        log: &str,
        ask: &serde_json::Value,
    ) -> Result<Option<LeaderMessage>, LogError> {
        let subject = format!("$JS.API.STREAM.MSG.GET.{log}");
        let message = self.call(subject, ask).await?;
        let answer: LeaderAnswer =
            serde_json::from_slice(&message.payload).map_err(LogError::malformed)?;
        match answer {
            LeaderAnswer {
                message: Some(found),
                ..
            } => Ok(Some(found)),
            LeaderAnswer {
                error: Some(error), ..
            } if error.code == 404 => Ok(None),
            LeaderAnswer { error, .. } => Err(LogError::Away(
                error.map(|e| e.description).unwrap_or_default(),
            )),
        }
    }
}

#[derive(Deserialize)]
struct LeaderAnswer {
    message: Option<LeaderMessage>,
    error: Option<LeaderError>,
}

#[derive(Deserialize)]
struct LeaderError {
    code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
pub(super) struct LeaderMessage {
    pub(super) seq: u64,
    #[serde(default)]
    data: String,
}

impl LeaderMessage {
    pub(super) fn payload(&self) -> Result<Vec<u8>, LogError> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD
            .decode(&self.data)
            .map_err(LogError::malformed)
    }
}
