//! The log over NATS JetStream.

mod calls;
mod connect;
mod consume;
mod control;
mod gateways;
mod leader;
mod lease;
mod live;
mod mirror;
mod plan;
mod provision;
mod publish;
mod read;
mod replies;

use std::sync::Arc;

use async_nats::HeaderName;
use chorus_protocol::{Event, Region};
use tokio::sync::watch;

use super::{Link, Regional, Registry};
use crate::config;
use crate::metrics::Metrics;

/// The handle to everything in NATS; clones share one connection.
#[derive(Clone)]
pub struct Nats {
    inner: Arc<Inner>,
}

struct Inner {
    client: async_nats::Client,
    context: async_nats::jetstream::Context,
    config: config::Nats,
    link: watch::Receiver<Link>,
    registry: Registry,
    replies: replies::Replies,
    publisher: Arc<publish::Publisher>,
    followed: live::Followed,
    metrics: Arc<Metrics>,
}

impl Regional for Nats {
    fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.inner.link.clone()
    }

    fn connected(&self) -> bool {
        self.inner.link.borrow().connected
    }
}

fn event(region: Region, epoch: u64, seq: u64, body: &[u8]) -> Event {
    Event {
        region,
        epoch,
        seq,
        body: body.to_vec(),
    }
}

fn header_text(message: &async_nats::Message, name: HeaderName) -> Option<&str> {
    message
        .headers
        .as_ref()
        .and_then(|headers| headers.get(name))
        .map(async_nats::HeaderValue::as_str)
}

fn header_number(message: &async_nats::Message, name: HeaderName) -> Option<u64> {
    header_text(message, name)?.parse().ok()
}
