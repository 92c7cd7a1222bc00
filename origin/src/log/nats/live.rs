//! Subscriptions to what the logs repeat.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use async_nats::{Message, Subscriber, header};
use chorus_protocol::stream::Life;
use chorus_protocol::{StreamId, subject};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::Stream;

use super::{Nats, event, header_number, read};
use crate::lock::lock;
use crate::log::follow::read_reaction;
use crate::log::{
    Answer, Feed, Follow, Live, LiveEvents, LiveReactions, Lives, LogError, PresenceReport,
    PresenceReports, ReactionTotal, Regional as _,
};

/// The streams whose events are read live, and how often.
#[derive(Default)]
pub(super) struct Followed(Mutex<HashMap<StreamId, usize>>);

impl Followed {
    pub(super) fn contains(&self, stream: &StreamId) -> bool {
        lock(&self.0).contains_key(stream)
    }

    fn add(&self, stream: &StreamId) {
        *lock(&self.0).entry(stream.clone()).or_default() += 1;
    }

    fn remove(&self, stream: &StreamId) {
        let mut followed = lock(&self.0);
        if let Some(times) = followed.get_mut(stream) {
            *times -= 1;
            if *times == 0 {
                followed.remove(stream);
            }
        }
    }
}

impl Follow for Nats {
    fn follow_events<'a>(&'a self, stream: &'a StreamId) -> Answer<'a, LiveEvents> {
        Box::pin(async move {
            let subscriber = self.subscribe(format!("live.event.*.*.{stream}")).await?;
            Ok(Feed::new(Events {
                log: self.clone(),
                stream: stream.clone(),
                subscriber,
                read: false,
            }))
        })
    }

    fn follow_reactions<'a>(&'a self, stream: &'a StreamId) -> Answer<'a, LiveReactions> {
        Box::pin(async move {
            let subscriber = self
                .subscribe(format!("live.reaction.*.{stream}.*"))
                .await?;
            Ok(Feed::new(subscriber.filter_map(|message| {
                std::future::ready(reaction(&message))
            })))
        })
    }

    fn follow_lives(&self) -> Answer<'_, Lives> {
        Box::pin(async move {
            let subscriber = self.subscribe("live.control.*.*.stream".to_owned()).await?;
            Ok(Feed::new(
                subscriber.filter_map(|message| std::future::ready(life(&message))),
            ))
        })
    }

    fn follow_presence<'a>(&'a self, stream: Option<&'a StreamId>) -> Answer<'a, PresenceReports> {
        Box::pin(async move {
            let stream = stream.map_or("*", StreamId::as_str);
            let subscriber = self.subscribe(format!("presence.*.*.{stream}")).await?;
            Ok(Feed::new(subscriber.filter_map(|message| {
                let report = PresenceReport::read(&message.subject, &message.payload);
                std::future::ready(report)
            })))
        })
    }

    fn report_presence<'a>(
        &'a self,
        gateway: &'a str,
        stream: &'a StreamId,
        viewers: u64,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if !self.connected() {
                return;
            }
            let subject = subject::presence(self.region(), gateway, stream);
            let viewers = viewers.to_string().into();
            if let Err(error) = self.inner.client.publish(subject, viewers).await {
                tracing::debug!(%error, "a viewer count was not sent");
            }
        })
    }

    fn settle(&self) -> Answer<'_, ()> {
        Box::pin(self.inner.replies.round_trip())
    }
}

impl Nats {
    pub(super) async fn subscribe(&self, subject: String) -> Result<Subscriber, LogError> {
        self.inner
            .client
            .subscribe(subject)
            .await
            .map_err(LogError::away)
    }
}

struct Events {
    log: Nats,
    stream: StreamId,
    subscriber: Subscriber,
    /// Somebody reads: messages only wait before.
    read: bool,
}

impl Stream for Events {
    type Item = Live;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Live>> {
        if !self.read {
            self.read = true;
            self.log.inner.followed.add(&self.stream);
        }
        loop {
            let Some(message) = ready!(self.subscriber.poll_next_unpin(cx)) else {
                return Poll::Ready(None);
            };
            let Some(live) = self.live(&message) else {
                self.log.inner.metrics.live_unreadable.inc();
                continue;
            };
            if live.event.region == *self.log.inner.registry.own() {
                self.log.inner.publisher.came_back(&message, live.event.seq);
            }
            return Poll::Ready(Some(live));
        }
    }
}

impl Events {
    /// `None` for a region that was not seen yet, too: what it has is read from its log once it is.
    fn live(&self, message: &Message) -> Option<Live> {
        let region = message.subject.split('.').nth(2)?;
        let (region, epoch) = self.log.inner.registry.named(region)?;
        let seq = header_number(message, header::NATS_SEQUENCE)?;
        let previous = header_number(message, header::NATS_LAST_SEQUENCE)?;
        Some(Live {
            event: event(region, epoch, seq, &message.payload),
            previous,
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if self.read {
            self.log.inner.followed.remove(&self.stream);
        }
    }
}

fn reaction(message: &Message) -> Option<ReactionTotal> {
    let (region, kind) = read_reaction(&message.subject)?;
    Some((region, kind, read::counter_value(&message.payload)?))
}

fn life(message: &Message) -> Option<Life> {
    let seq = header_number(message, header::NATS_SEQUENCE)?;
    let info = serde_json::from_slice(&message.payload).ok()?;
    Some(Life { info, seq })
}
