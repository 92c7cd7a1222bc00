//! Publishing events and reactions.

use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::codes::Reason;
use chorus_protocol::{CommentId, Region, StreamId, UserId};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{Answer, Regional};
use crate::config;

/// Repeats of a message id are recognised for this long.
pub(super) const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);

/// An acknowledgement that takes longer is [`Ack::Unknown`].
pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the acknowledgement of an event is waited for: where another region's log may take it, not as long.
pub(super) fn ack_wait(config: &config::Nats) -> Duration {
    if config.peers.is_empty() {
        ACK_TIMEOUT
    } else {
        Duration::from_millis(config.ack_ms_max)
    }
}

/// How a publication came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// A quorum holds it.
    Stored {
        /// Where: the first one's sequence when this is a repeat.
        seq: u64,
        /// It was there before.
        duplicate: bool,
    },
    /// It is certainly not stored.
    Refused,
    /// It may be stored or not.
    Unknown,
}

/// Who is told how a publication came out; each told exactly once.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// Where to.
    pub to: mpsc::UnboundedSender<(Tag, Ack)>,
    /// What the waiter knows the publication by.
    pub tag: Tag,
}

/// The waiter's own words for a publication, handed back with its acknowledgement: it need not look them up.
#[derive(Clone, Debug, Default)]
pub struct Tag {
    /// The same for all parts of what was asked for, and for nothing else of this waiter.
    pub number: u64,
    /// Which request it answers.
    pub request: u64,
    /// The event's id, where it is one.
    pub id: Option<CommentId>,
    /// In how many parts it is published.
    pub parts: usize,
    /// Its message id.
    pub key: u128,
    /// Whose limits it was counted in.
    pub counted: Option<UserId>,
    /// Why it is refused if it was not stored before, and in how many milliseconds waiting helps: see
    /// [`Publish::find_repeat`].
    pub refusal: Option<(Reason, Option<u64>)>,
    /// The region whose log an event went to: the log writes it here.
    pub region: Option<Region>,
    /// And the partition there.
    pub partition: u16,
    /// The event itself, where it goes to another region's log when this one is away.
    pub again: Option<Box<Again>>,
    /// A copy that only shows whether the log takes events again: nobody is told how it came out.
    pub probe: bool,
}

/// An event that may go to another region's log.
#[derive(Clone, Debug)]
pub struct Again {
    /// Whose.
    pub stream: StreamId,
    /// The same bytes for every log.
    pub body: Bytes,
    /// Who is told.
    pub to: mpsc::UnboundedSender<(Tag, Ack)>,
    /// A log that did not acknowledge it may have stored it.
    pub unsettled: bool,
}

impl Waiter {
    pub(super) fn tell(self, ack: Ack) {
        // Who asked may be gone; the publication stands either way.
        let _ = self.to.send((self.tag, ack));
    }
}

/// Publishing to the logs: events to any region's, everything else to this region's.
pub trait Publish: Regional {
    /// Publishes an event's body under its message id to a region's log; the waiter is told how it came out.
    /// [`Ack::Unknown`] for a region that was never seen, too: how its events are laid out is not known.
    fn publish_event<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        key: u128,
        body: Bytes,
        waiter: Waiter,
    ) -> BoxFuture<'a, ()>;

    /// Asks a region's log whether an event was stored before under its message id, and stores nothing:
    /// [`Ack::Refused`] when it was not within the log's window of repeats.
    fn find_repeat<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        key: u128,
        waiter: Waiter,
    ) -> BoxFuture<'a, ()>;

    /// Adds to a reaction's total under a message id; the waiter is told how it came out.
    fn publish_reaction<'a>(
        &'a self,
        stream: &'a StreamId,
        reaction_type: &'a str,
        key: u128,
        by: u64,
        waiter: Waiter,
    ) -> BoxFuture<'a, ()>;

    /// Publishes to this region's dead letters what could not be worked on, and waits until it is stored: the message of
    /// `region` at `place`, a partition and a sequence.
    ///
    /// Fails when it is not known to be stored.
    fn publish_dead<'a>(
        &'a self,
        role: &'a str,
        region: &'a Region,
        place: (u16, u64),
        reason: &'a str,
        payload: &'a [u8],
    ) -> Answer<'a, ()>;
}
