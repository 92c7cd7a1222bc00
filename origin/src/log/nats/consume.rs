//! The durable consumers on the partitions.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use chorus_protocol::Region;
use futures_util::StreamExt as _;

use super::Nats;
use super::provision::PERSIST;
use crate::log::{Answer, Consume, Consumer, Entry, LogError, Regional as _, Source};

/// Messages fetched at once and held unacknowledged.
const FETCH: usize = 1_000;

impl Consume for Nats {
    fn consume_events<'a>(&'a self, region: &'a Region, partition: u16) -> Answer<'a, Consumer> {
        Box::pin(async move {
            let log = self.registry().log_here(region, partition);
            let consumer: PullConsumer = self
                .inner
                .context
                .get_consumer_from_stream(PERSIST, log)
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
            let last = None;
            Ok(Consumer::new(
                Pull { messages, last },
                delivered.stream_sequence,
                delivered.consumer_sequence,
            ))
        })
    }
}

struct Pull {
    messages: pull::Stream,
    last: Option<Message>,
}

impl Source for Pull {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Entry, LogError>> {
        let next = match ready!(self.messages.poll_next_unpin(cx)) {
            Some(next) => next.map_err(LogError::away),
            None => Err(LogError::Away("the consumer is closed".to_owned())),
        };
        Poll::Ready(next.and_then(|message| {
            let entry = entry(&message)?;
            self.last = Some(message);
            Ok(entry)
        }))
    }

    fn acknowledge(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            match &self.last {
                Some(last) => last.double_ack().await.map_err(LogError::away),
                None => Ok(()),
            }
        })
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
