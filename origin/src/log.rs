//! The log: everything that speaks to NATS.
//!
//! **Invariant**: no other module names `async_nats`.

mod calls;
mod connect;
mod consume;
mod control;
mod leader;
mod lease;
mod live;
mod presence;
mod provision;
mod publish;
mod read;
mod replies;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use async_nats::HeaderName;
use chorus_protocol::{Event, Region, StreamId, subject};
use tokio::sync::watch;

pub use calls::{Call, Calls};
pub use chorus_protocol::stream::Life;
pub use consume::{Consumed, Consumer, Entry};
pub use control::Lives;
pub use lease::{Lease, Leases};
pub use live::{Live, LiveEvents, LiveReactions};
pub use presence::{PresenceReport, PresenceReports};
pub use publish::{Ack, Tag, Waiter};
pub use read::Tail;

use crate::config::Nats;
use crate::metrics::Metrics;

/// Why the log did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No connection, no leader, or no answer in time: nothing is known, try again.
    #[error("the log is away: {0}")]
    Away(String),
    /// The server refused: trying again alone does not help.
    #[error("the log refused: {0}")]
    Refused(String),
    /// The server's answer cannot be read.
    #[error("the log's answer cannot be read: {0}")]
    Malformed(String),
}

impl LogError {
    pub(crate) fn away(error: impl std::fmt::Display) -> Self {
        Self::Away(error.to_string())
    }

    pub(crate) fn refused(error: impl std::fmt::Display) -> Self {
        Self::Refused(error.to_string())
    }

    pub(crate) fn malformed(error: impl std::fmt::Display) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// How the connection to NATS stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether it is there.
    pub connected: bool,
    /// Grows with every connection made.
    pub generation: u64,
}

/// What is known of one region's log of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionLog {
    /// Which incarnation: the milliseconds at which it was created.
    pub epoch: u64,
    /// The oldest sequence it still holds, as of the last look.
    pub first_seq: u64,
    /// The newest sequence, as of the last look.
    pub last_seq: u64,
}

/// The handle to everything in NATS; clones share one connection.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    client: async_nats::Client,
    context: async_nats::jetstream::Context,
    region: Region,
    config: Nats,
    link: watch::Receiver<Link>,
    /// Bumped whenever a region's log was found to be another one.
    regions: RwLock<BTreeMap<Region, RegionLog>>,
    replies: replies::Replies,
    publisher: Arc<publish::Publisher>,
    followed: live::Followed,
    metrics: Arc<Metrics>,
}

impl Log {
    /// The region of this process.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.inner.region
    }

    /// How the connection stands; changes wake the receiver.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.inner.link.clone()
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.inner.link.borrow().connected
    }

    /// The regions whose logs can be read here and what is known of them.
    #[must_use]
    pub fn regions(&self) -> BTreeMap<Region, RegionLog> {
        self.known_regions().clone()
    }

    /// A region's incarnation.
    #[must_use]
    pub fn epoch(&self, region: &Region) -> Option<u64> {
        self.known_regions().get(region).map(|log| log.epoch)
    }

    /// The region of that name, where its log can be read here, and its incarnation.
    fn region_named(&self, name: &str) -> Option<(Region, u64)> {
        let regions = self.known_regions();
        let (region, log) = regions.get_key_value(name)?;
        Some((region.clone(), log.epoch))
    }

    fn known_regions(&self) -> RwLockReadGuard<'_, BTreeMap<Region, RegionLog>> {
        self.inner
            .regions
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// This region and its peers, whether their logs can be seen or not; this one first.
    pub fn all_regions(&self) -> impl Iterator<Item = &Region> {
        std::iter::once(&self.inner.region).chain(&self.inner.config.peers)
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

/// The partition of a region's events. There is one: `partitions` of the design is not configuration yet.
const PARTITION: u16 = 0;

/// The log of a region's events.
fn events_log(region: &Region) -> String {
    subject::events_log(region, PARTITION)
}

/// Where a stream's events are written.
fn event_subject(region: &Region, stream: &StreamId) -> String {
    subject::event(region, PARTITION, stream)
}

/// All subjects of [`events_log`].
fn event_subjects(region: &Region) -> String {
    subject::events_of(region, PARTITION)
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
