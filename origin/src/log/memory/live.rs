//! Subscriptions to what the logs repeat.

use std::task::Poll;

use chorus_protocol::stream::Life;
use chorus_protocol::{Event, StreamId, subject};
use futures_util::future::BoxFuture;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc::UnboundedReceiver;

use super::Memory;
use super::events::total;
use super::world::Repeated;
use crate::log::follow::read_reaction;
use crate::log::{
    Answer, Feed, Follow, Live, LiveEvents, LiveReactions, Lives, PresenceReport, PresenceReports,
    Regional as _,
};

impl Follow for Memory {
    fn follow_events<'a>(&'a self, stream: &'a StreamId) -> Answer<'a, LiveEvents> {
        let log = self.clone();
        self.follow(format!("live.event.*.*.{stream}"), move |message| {
            let name = message.subject.split('.').nth(2)?;
            let (region, epoch) = log.registry().named(name)?;
            Some(Live {
                event: Event {
                    region,
                    epoch,
                    seq: message.seq,
                    body: message.payload.to_vec(),
                },
                previous: message.previous,
            })
        })
    }

    fn follow_reactions<'a>(&'a self, stream: &'a StreamId) -> Answer<'a, LiveReactions> {
        self.follow(format!("live.reaction.*.{stream}.*"), |message| {
            let (region, kind) = read_reaction(&message.subject)?;
            Some((region, kind, total(&message.payload)?))
        })
    }

    fn follow_lives(&self) -> Answer<'_, Lives> {
        self.follow("live.control.*.*.stream".to_owned(), |message| {
            let info = serde_json::from_slice(&message.payload).ok()?;
            Some(Life {
                info,
                seq: message.seq,
            })
        })
    }

    fn follow_presence<'a>(&'a self, stream: Option<&'a StreamId>) -> Answer<'a, PresenceReports> {
        let stream = stream.map_or("*", StreamId::as_str);
        self.follow(format!("presence.*.*.{stream}"), |message| {
            PresenceReport::read(&message.subject, &message.payload)
        })
    }

    fn report_presence<'a>(
        &'a self,
        gateway: &'a str,
        stream: &'a StreamId,
        viewers: u64,
    ) -> BoxFuture<'a, ()> {
        let own = self.region();
        let mut world = self.world();
        if !world.state(own).stopped {
            let report = Repeated {
                subject: subject::presence(own, gateway, stream),
                seq: 0,
                previous: 0,
                payload: viewers.to_string().into(),
            };
            world.send(own, &report);
        }
        drop(world);
        Box::pin(std::future::ready(()))
    }

    fn settle(&self) -> Answer<'_, ()> {
        Box::pin(self.at(self.region(), |_| Ok(())))
    }
}

impl Memory {
    pub(super) fn follow<T: 'static>(
        &self,
        pattern: String,
        read: impl Fn(Repeated) -> Option<T> + Send + 'static,
    ) -> Answer<'_, Feed<T>>
    where
        Feed<T>: Send,
    {
        let messages = self.world().subscribe(self.region(), pattern);
        Box::pin(std::future::ready(Ok(feed(messages, read))))
    }
}

/// What comes over a channel, as far as it can be read.
pub(super) fn feed<M: Send + 'static, T>(
    mut messages: UnboundedReceiver<M>,
    read: impl Fn(M) -> Option<T> + Send + 'static,
) -> Feed<T> {
    Feed::new(poll_fn(move |cx| {
        loop {
            match messages.poll_recv(cx) {
                Poll::Ready(Some(message)) => {
                    if let Some(item) = read(message) {
                        return Poll::Ready(Some(item));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }))
}
