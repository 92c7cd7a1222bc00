//! The durable consumers of the role `persist` on the partitions of a region's events and of its mirrors.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::Region;

use super::{Answer, LogError, Regional};

/// How long a message waits for its acknowledgement before it is handed out again.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(30);

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

/// What hands messages out.
pub trait Source: Send + Sync {
    /// The next message. An error: the consumer or the connection is gone.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Entry, LogError>>;
    /// Acknowledges the last message handed out and everything before it, and waits until the server knows.
    fn acknowledge(&self) -> Answer<'_, ()>;
}

/// An open durable consumer.
pub struct Consumer {
    source: Box<dyn Source>,
    /// Nothing up to this sequence of the log is handed out for the first time any more: what of it was not
    /// acknowledged went to another reader, or to this one before, and comes again late and out of order.
    pub past: u64,
    /// How many messages had been handed out when it was opened.
    pub handed_out: u64,
}

impl Consumer {
    pub(super) fn new(source: impl Source + 'static, past: u64, handed_out: u64) -> Self {
        Self {
            source: Box::new(source),
            past,
            handed_out,
        }
    }

    /// Waits for a message and gathers what else comes within `window`, at most `max`, in the order of the log.
    ///
    /// # Errors
    /// When the consumer or the connection is gone: open it again.
    pub async fn next_group(
        &mut self,
        max: usize,
        window: Duration,
    ) -> Result<Vec<Entry>, LogError> {
        let mut entries = vec![self.next().await?];
        let until = tokio::time::Instant::now() + window;
        while entries.len() < max {
            match tokio::time::timeout_at(until, self.next()).await {
                Ok(entry) => entries.push(entry?),
                Err(_) => break,
            }
        }
        Ok(entries)
    }

    async fn next(&mut self) -> Result<Entry, LogError> {
        poll_fn(|cx| self.source.poll_next(cx)).await
    }

    /// Acknowledges all that was handed out here, and waits until the server knows.
    ///
    /// # Errors
    /// When it does not answer: what was handed out comes again.
    pub async fn acknowledge(&self) -> Result<(), LogError> {
        self.source.acknowledge().await
    }
}

/// Consuming all events.
pub trait Consume: Regional {
    /// Opens the durable on a partition of this region's events, or on this region's mirror of another one's. Fails when it
    /// is away.
    fn consume_events<'a>(&'a self, region: &'a Region, partition: u16) -> Answer<'a, Consumer>;
}
