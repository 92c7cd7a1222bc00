//! A connection that posts at its share of the rate and waits for the receipts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chorus_client::protocol::server::{ReceiptStatus, ServerMessage};
use chorus_client::protocol::{ClientId, StreamId};
use chorus_client::{Client, Endpoint, Event, Options};
use tokio::sync::{Barrier, watch};
use tokio::time::Instant;

use super::SETTLE_STOPPED_MAX;
use super::tally::Tally;

/// Time after the last post in which receipts are awaited; a PoP sends `unconfirmed` after 30 s.
const RECEIPTS_MAX: Duration = Duration::from_secs(35);

/// The posts of one author: author `i` of `n` posts the numbers `i`, `i + n`, ….
#[derive(Clone, Copy)]
pub(crate) struct Share {
    pub(crate) index: u64,
    pub(crate) authors: u64,
    /// Comments per second of all authors together.
    pub(crate) rate: u64,
    pub(crate) posts_max: u64,
}

impl Share {
    /// The time from the start to the post with this number.
    fn due(&self, number: u64) -> Duration {
        Duration::from_micros(number * 1_000_000 / self.rate)
    }
}

/// A connection that posts.
pub(crate) struct Author {
    client: Client,
    stream: StreamId,
    pending: HashMap<String, u64>,
}

impl Author {
    /// Connects and joins.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        stream: &StreamId,
        options: &Options,
    ) -> Result<Self> {
        let mut client = Client::connect_to(endpoint, options).await?;
        client.join(stream, None).await?;
        loop {
            match client.next().await {
                Event::Message(message) if matches!(*message, ServerMessage::Joined(_)) => break,
                Event::Message(message) => {
                    if let ServerMessage::Error(refusal) = *message {
                        bail!(
                            "an author cannot join: {}: {}",
                            refusal.code,
                            refusal.message
                        );
                    }
                }
                Event::Unreadable(why) => bail!("cannot be read: {why}"),
                Event::Closed(close) => bail!("an author's connection ended: {close:?}"),
            }
        }
        Ok(Self {
            client,
            stream: stream.clone(),
            pending: HashMap::new(),
        })
    }

    /// Posts its share, or less when stopped, after all authors are ready; then waits for the receipts.
    pub(crate) async fn run(
        mut self,
        share: Share,
        begin: Arc<Barrier>,
        tally: Arc<Tally>,
        stopped: watch::Receiver<bool>,
    ) -> Result<()> {
        begin.wait().await;
        let begun = Instant::now();
        let mut number = share.index;
        while number < share.posts_max && !*stopped.borrow() {
            let due = begun + share.due(number);
            while let Some(event) = self.client.next_until(due).await {
                self.handle(event, &tally)?;
            }
            let key = tally.key(number);
            let client_id = ClientId::new(&key).context("a key that is none")?;
            self.pending.insert(key, number);
            tally.post(number);
            self.client
                .post(&self.stream, &client_id, &tally.content(number))
                .await?;
            number += share.authors;
        }
        let deadline = Instant::now()
            + if *stopped.borrow() {
                SETTLE_STOPPED_MAX
            } else {
                RECEIPTS_MAX
            };
        while !self.pending.is_empty() {
            match self.client.next_until(deadline).await {
                Some(event) => self.handle(event, &tally)?,
                None => {
                    tally.failed(format!("{} posts without a receipt", self.pending.len()));
                    tally
                        .errors
                        .fetch_add(self.pending.len() as u64, Ordering::Relaxed);
                    break;
                }
            }
        }
        self.client.close().await;
        Ok(())
    }

    fn handle(&mut self, event: Event, tally: &Tally) -> Result<()> {
        match event {
            Event::Message(message) => self.handle_message(*message, tally),
            Event::Unreadable(why) => bail!("cannot be read: {why}"),
            Event::Closed(close) => bail!("an author's connection ended: {close:?}"),
        }
        Ok(())
    }

    fn handle_message(&mut self, message: ServerMessage, tally: &Tally) {
        match message {
            ServerMessage::Receipt(receipt) => {
                let counter = match receipt.status {
                    ReceiptStatus::Durable => &tally.durable,
                    ReceiptStatus::Rejected => &tally.rejected,
                    ReceiptStatus::Accepted
                    | ReceiptStatus::SampledOut
                    | ReceiptStatus::Held
                    | ReceiptStatus::Applied => return,
                };
                let Some(number) = self.pending.remove(&receipt.client_id) else {
                    return;
                };
                counter.fetch_add(1, Ordering::Relaxed);
                if receipt.status == ReceiptStatus::Durable {
                    if let Some(took) = tally.since_post(number) {
                        tally.to_durable.record(took);
                    }
                } else {
                    tally.failed(format!("refused: {}", receipt.reason.unwrap_or_default()));
                }
            }
            ServerMessage::Error(refusal) => {
                tally.failed(format!("{}: {}", refusal.code, refusal.message));
                let ours = refusal
                    .client_id
                    .and_then(|key| self.pending.remove(&key))
                    .is_some();
                if ours && refusal.code == "unconfirmed" {
                    tally.unconfirmed.fetch_add(1, Ordering::Relaxed);
                } else {
                    tally.errors.fetch_add(1, Ordering::Relaxed);
                }
            }
            ServerMessage::Joined(_)
            | ServerMessage::CommentsBatch { .. }
            | ServerMessage::CommentsRemoved { .. }
            | ServerMessage::CommentUpdated { .. }
            | ServerMessage::ReactionsBatch { .. }
            | ServerMessage::ViewerCount { .. }
            | ServerMessage::StreamUpdated { .. }
            | ServerMessage::Notice { .. }
            | ServerMessage::Mention { .. }
            | ServerMessage::Pong(_) => {}
        }
    }
}
