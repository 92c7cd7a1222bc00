//! One follower per stream and gateway. Its [`core`] decides; the shell hands it what the log and the PoPs say, and does
//! what it wants.

#[doc(hidden)]
pub mod core;
mod outlet;
mod reads;
mod serve;

use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::{Offset, Position, Region, StreamId};
use tokio::sync::mpsc;

use self::core::{LaneId, PopProcess};
pub(super) use self::outlet::{Outlet, TOLD_MAX, Told};
pub(super) use self::reads::{found, standings};
use super::followers::Shared;
use crate::log::{LiveEvents, LiveReactions, LogError, PresenceReports};

/// What is asked of a follower and waits.
pub(super) const ASKS_MAX: usize = 1_024;
/// From one try to subscribe to the next.
const RETRY: Duration = Duration::from_millis(250);

/// Why a follower ended; its lanes attach to the next one.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("nobody holds the stream any more")]
    Idle,
    #[error("the connection to NATS is closed")]
    Closed,
}

/// What is asked of a follower.
pub(super) enum Ask {
    /// Hand deliveries to a lane from now on, after what the PoP has.
    Hold {
        lane: LaneId,
        have: Option<Position>,
        outlet: Outlet,
    },
    /// No longer.
    Release { lane: LaneId },
    /// The lane's queue was full and ended; all of it is written.
    Drained { lane: LaneId },
    /// The log's last sequence of this stream.
    Last { region: Region, last: Offset },
    /// A PoP counts so many viewers.
    Viewing { pop: PopProcess, viewers: u64 },
    /// A PoP's connection is gone.
    Gone { pop: PopProcess },
    /// The connection to NATS was away: what was missed must be asked for.
    Reconnected,
    /// [`Shared::regions`] changed.
    Regions,
}

struct Subscriptions {
    events: LiveEvents,
    reactions: LiveReactions,
    presence: PresenceReports,
}

/// Runs a follower until it ends; asks that come before it is ready wait.
pub(super) async fn run(
    stream: StreamId,
    shared: Arc<Shared>,
    mut asks: mpsc::Receiver<Ask>,
) -> Ended {
    // Live messages wait in the subscriptions while history is read: subscribe first, then catch up.
    let subscriptions = loop {
        match subscribe(&stream, &shared).await {
            Ok(subscriptions) => break subscriptions,
            Err(error) => tracing::debug!(%stream, %error, "cannot follow yet"),
        }
        tokio::time::sleep(RETRY).await;
    };
    serve::serve(stream, shared, subscriptions, &mut asks).await
}

async fn subscribe(stream: &StreamId, shared: &Shared) -> Result<Subscriptions, LogError> {
    let log = &shared.log;
    let subscriptions = Subscriptions {
        events: log.follow_events(stream).await?,
        reactions: log.follow_reactions(stream).await?,
        presence: log.follow_presence(Some(stream)).await?,
    };
    log.settle().await?;
    Ok(subscriptions)
}
