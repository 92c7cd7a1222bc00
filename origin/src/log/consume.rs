//! The durable consumer of the role `persist` on the log of events.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use bytes::Bytes;
use futures_util::StreamExt as _;

use super::provision::PERSIST;
use super::{Log, LogError, events_log};

/// Messages fetched at once and held unacknowledged.
const FETCH: usize = 1_000;

/// A message of a log as the consumer hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its sequence in the log.
    pub seq: u64,
    /// How many messages the consumer had handed out with this one: a hole means that another got one.
    pub handed_out: u64,
    /// Messages behind this one.
    pub pending: u64,
    /// What it carries.
    pub payload: Bytes,
}

/// A group of messages, acknowledged together.
pub struct Consumed {
    /// In the order of the log.
    pub entries: Vec<Entry>,
    last: Message,
}

/// An open durable consumer.
pub struct Consumer {
    messages: pull::Stream,
    /// Nothing up to this sequence of the log is handed out for the first time any more: what of it was not
    /// acknowledged went to another reader, or to this one before, and comes again late and out of order.
    pub past: u64,
    /// How many messages had been handed out when it was opened.
    pub handed_out: u64,
}

impl Log {
    /// Opens the durable on this region's events.
    ///
    /// # Errors
    /// When it is away.
    pub async fn consume_events(&self) -> Result<Consumer, LogError> {
        let consumer: PullConsumer = self
            .inner
            .context
            .get_consumer_from_stream(PERSIST, events_log(self.region()))
            .await
            .map_err(LogError::away)?;
        let delivered = consumer.cached_info().delivered;
        let messages = consumer
            .stream()
            .max_messages_per_batch(FETCH)
            .heartbeat(Duration::from_secs(2))
            .expires(Duration::from_secs(10))
            .messages()
            .await
            .map_err(LogError::away)?;
        Ok(Consumer {
            messages,
            past: delivered.stream_sequence,
            handed_out: delivered.consumer_sequence,
        })
    }
}

impl Consumer {
    /// Waits for a message and gathers what else comes within `window`, at most `max`.
    ///
    /// # Errors
    /// When the consumer or the connection is gone: open it again.
    pub async fn next_group(&mut self, max: usize, window: Duration) -> Result<Consumed, LogError> {
        let first = self.next().await?;
        let mut entries = vec![entry(&first)?];
        let mut last = first;
        let until = tokio::time::Instant::now() + window;
        while entries.len() < max {
            match tokio::time::timeout_at(until, self.next()).await {
                Ok(message) => {
                    last = message?;
                    entries.push(entry(&last)?);
                }
                Err(_) => break,
            }
        }
        Ok(Consumed { entries, last })
    }

    async fn next(&mut self) -> Result<Message, LogError> {
        match self.messages.next().await {
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => Err(LogError::away(error)),
            None => Err(LogError::Away("the consumer is closed".to_owned())),
        }
    }
}

impl Consumed {
    /// Acknowledges the group and everything before it, and waits until the server knows.
    ///
    /// # Errors
    /// When it does not answer: the group comes again.
    pub async fn acknowledge(&self) -> Result<(), LogError> {
        self.last.double_ack().await.map_err(LogError::away)
    }
}

fn entry(message: &Message) -> Result<Entry, LogError> {
    let info = message.info().map_err(LogError::malformed)?;
    Ok(Entry {
        seq: info.stream_sequence,
        handed_out: info.consumer_sequence,
        pending: info.pending,
        payload: message.payload.clone(),
    })
}
