//! What a log repeats live: events with their place in the log, reaction totals.
//!
//! Live messages may be lost, repeated or reordered; the reader applies the gap rule.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use async_nats::{Message, Subscriber, header};
use chorus_protocol::{Event, Region, StreamId};
use futures_util::{FutureExt as _, StreamExt as _};

use super::{Log, LogError, event, header_number, read};

/// An event as it was repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The message. Its epoch is that of the log as known when it came.
    pub event: Event,
    /// The sequence of the one before it on the same subject, 0 for the first.
    pub previous: u64,
}

/// A stream's events of all regions, live. What is published here counts as stored when they are read here.
pub struct LiveEvents {
    log: Log,
    stream: StreamId,
    subscriber: Subscriber,
    /// Somebody reads: messages only wait before.
    read: bool,
}

/// The streams whose events are read live, and how often.
#[derive(Default)]
pub(super) struct Followed(Mutex<HashMap<StreamId, usize>>);

impl Followed {
    pub(super) fn contains(&self, stream: &StreamId) -> bool {
        self.lock().contains_key(stream)
    }

    fn add(&self, stream: &StreamId) {
        *self.lock().entry(stream.clone()).or_default() += 1;
    }

    fn remove(&self, stream: &StreamId) {
        let mut followed = self.lock();
        if let Some(times) = followed.get_mut(stream) {
            *times -= 1;
            if *times == 0 {
                followed.remove(stream);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, usize>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A stream's reaction totals of all regions, live.
pub struct LiveReactions {
    subscriber: Subscriber,
}

impl Log {
    /// Follows a stream's events.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn follow_events(&self, stream: &StreamId) -> Result<LiveEvents, LogError> {
        let subscriber = self.subscribe(format!("live.event.*.*.{stream}")).await?;
        Ok(LiveEvents {
            log: self.clone(),
            stream: stream.clone(),
            subscriber,
            read: false,
        })
    }

    /// Follows a stream's reaction totals.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn follow_reactions(&self, stream: &StreamId) -> Result<LiveReactions, LogError> {
        let subscriber = self
            .subscribe(format!("live.reaction.*.{stream}.*"))
            .await?;
        Ok(LiveReactions { subscriber })
    }

    pub(super) async fn subscribe(&self, subject: String) -> Result<Subscriber, LogError> {
        self.inner
            .client
            .subscribe(subject)
            .await
            .map_err(LogError::away)
    }

    /// Waits until the server has seen every subscription made before.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn settle(&self) -> Result<(), LogError> {
        let flushed = self.inner.client.flush();
        match tokio::time::timeout(std::time::Duration::from_secs(3), flushed).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(LogError::away(error)),
            Err(_) => Err(LogError::Away("no connection".to_owned())),
        }
    }
}

impl LiveEvents {
    /// Waits for one and takes up to `max - 1` more that are there already, into an empty group. It stays empty:
    /// closed for good.
    pub async fn next_group(&mut self, max: usize, group: &mut Vec<Live>) {
        if !self.read {
            self.read = true;
            self.log.inner.followed.add(&self.stream);
        }
        let Some(first) = self.subscriber.next().await else {
            return;
        };
        self.take(&first, group);
        while group.len() < max
            && let Some(Some(message)) = self.subscriber.next().now_or_never()
        {
            self.take(&message, group);
        }
    }

    fn take(&self, message: &Message, group: &mut Vec<Live>) {
        if let Some(live) = self.read(message) {
            if live.event.region == self.log.inner.region {
                self.log.inner.publisher.came_back(message, live.event.seq);
            }
            group.push(live);
        } else {
            self.log.inner.metrics.live_unreadable.inc();
        }
    }

    fn read(&self, message: &Message) -> Option<Live> {
        let (region, epoch) = self.log.region_named(message.subject.split('.').nth(2)?)?;
        let seq = header_number(message, header::NATS_SEQUENCE)?;
        let previous = header_number(message, header::NATS_LAST_SEQUENCE)?;
        Some(Live {
            event: event(region, epoch, seq, &message.payload),
            previous,
        })
    }
}

impl Drop for LiveEvents {
    fn drop(&mut self) {
        if self.read {
            self.log.inner.followed.remove(&self.stream);
        }
    }
}

impl LiveReactions {
    /// Waits for one: the region, the type and its running total there. `None`: closed for good.
    pub async fn next(&mut self) -> Option<(Region, String, u64)> {
        loop {
            let message = self.subscriber.next().await?;
            let mut parts = message.subject.split('.').skip(2);
            let region = parts.next().and_then(|text| text.parse().ok());
            let kind = parts.nth(1).map(str::to_owned);
            let total = read::counter_value(&message.payload);
            if let (Some(region), Some(kind), Some(total)) = (region, kind, total) {
                return Some((region, kind, total));
            }
        }
    }
}
