//! The log as a seam: small traits that the roles use, NATS behind them and an in-memory twin for tests.
//!
//! One behaviour suite (`origin/tests/log.rs`) holds both implementations to the same.
//!
//! **Invariant**: only `log/nats` names `async_nats`.

mod calls;
mod consume;
mod control;
mod feed;
mod follow;
mod gateways;
mod lease;
#[doc(hidden)]
pub mod memory;
mod mirror;
pub mod nats;
mod plan;
mod provision;
mod publish;
mod read;
mod regions;

use futures_util::future::BoxFuture;

pub use calls::{Call, Calling, Calls, Reply};
pub use chorus_protocol::stream::Life;
pub use consume::{Consume, Consumer, Entry, Source};
pub use control::Control;
pub use feed::Feed;
pub use follow::{
    Follow, Live, LiveEvents, LiveReactions, Lives, PresenceReport, PresenceReports, ReactionTotal,
};
pub use gateways::{GatewayLeases, GatewayWord, GatewayWords};
pub use lease::{Bucket, Lease, Leases, Leasing, RIGHT};
pub use mirror::{Mirror, MirrorPart, Site};
pub use plan::{Change, Field, Plan, Step};
pub use provision::{Part, Provision, Record};
pub use publish::{Ack, Again, Publish, Tag, Waiter};
pub use read::{Read, Stretch, Tail};
pub use regions::{RegionLog, Regional, Registry, watch};

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
    /// The configuration contradicts what a region's log says: a start is senseless.
    #[error("{0}")]
    Conflict(String),
    /// The region's events are laid out in another number of partitions.
    #[error("the region's events are in {found} partitions, `nats.partitions` is {wanted}")]
    Partitions {
        /// As they are.
        found: u16,
        /// As configured.
        wanted: u16,
    },
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

/// What the log answers with.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, LogError>>;

/// How the connection to the log stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether it is there.
    pub connected: bool,
    /// Grows with every connection made.
    pub generation: u64,
}

/// Everything a role asks of the log.
pub trait Log:
    Regional
    + Publish
    + Read
    + Follow
    + Consume
    + Control
    + Leasing
    + Mirror
    + Calling
    + GatewayLeases
    + 'static
{
}

impl<T> Log for T where
    T: Regional
        + Publish
        + Read
        + Follow
        + Consume
        + Control
        + Leasing
        + Mirror
        + Calling
        + GatewayLeases
        + 'static
{
}
