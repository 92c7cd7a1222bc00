//! What a log repeats live: events with their place in it, reaction totals, streams' lives, viewer counts.
//!
//! Live messages may be lost, repeated or reordered; the reader applies the gap rule.

use chorus_protocol::stream::Life;
use chorus_protocol::{Event, Region, StreamId};
use futures_util::future::BoxFuture;

use super::{Answer, Feed, Regional};

/// An event as it was repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// The message. Its epoch is that of the log as known when it came.
    pub event: Event,
    /// The sequence of the one before it on the same subject, 0 for the first.
    pub previous: u64,
}

/// What one gateway counts for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceReport {
    /// `<region>.<gateway>`.
    pub gateway: String,
    /// Which stream.
    pub stream: StreamId,
    /// Viewers at its PoPs.
    pub viewers: u64,
}

impl PresenceReport {
    /// Of a message on `presence.<region>.<gateway>.<stream>`.
    pub(super) fn read(subject: &str, payload: &[u8]) -> Option<Self> {
        let mut parts = subject.splitn(4, '.').skip(1);
        let (region, gateway, stream) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            gateway: format!("{region}.{gateway}"),
            stream: stream.parse().ok()?,
            viewers: std::str::from_utf8(payload).ok()?.parse().ok()?,
        })
    }
}

/// The region and the type of a message on `live.reaction.<region>.<stream>.<type>`.
pub(super) fn read_reaction(subject: &str) -> Option<(Region, String)> {
    let mut parts = subject.split('.').skip(2);
    let region = parts.next()?.parse().ok()?;
    Some((region, parts.nth(1)?.to_owned()))
}

/// The region, the type and its running total there.
pub type ReactionTotal = (Region, String, u64);
/// A stream's events of all regions. What is published here counts as stored when they are read here.
pub type LiveEvents = Feed<Live>;
/// A stream's reaction totals of all regions.
pub type LiveReactions = Feed<ReactionTotal>;
/// Every stream's life.
pub type Lives = Feed<Life>;
/// Reports as they come.
pub type PresenceReports = Feed<PresenceReport>;

/// Following what comes live. Every subscription fails when the connection is closed for good.
pub trait Follow: Regional {
    /// Follows a stream's events.
    fn follow_events<'a>(&'a self, stream: &'a StreamId) -> Answer<'a, LiveEvents>;
    /// Follows a stream's reaction totals.
    fn follow_reactions<'a>(&'a self, stream: &'a StreamId) -> Answer<'a, LiveReactions>;
    /// Follows every stream's life.
    fn follow_lives(&self) -> Answer<'_, Lives>;
    /// Follows the viewer counts of one stream, or of all.
    fn follow_presence<'a>(&'a self, stream: Option<&'a StreamId>) -> Answer<'a, PresenceReports>;
    /// Says how many viewers a gateway of this region counts; a lost one is made good by the next.
    fn report_presence<'a>(
        &'a self,
        gateway: &'a str,
        stream: &'a StreamId,
        viewers: u64,
    ) -> BoxFuture<'a, ()>;
    /// Waits until the server has seen every subscription made before. Fails when it does not answer in time.
    fn settle(&self) -> Answer<'_, ()>;
}
