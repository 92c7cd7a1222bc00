//! What the host and the session component tell each other inside the byte fields of `wit/edge.wit`.
//!
//! MessagePack with named fields, so that neighbouring versions read each other; configuration is JSON.

mod view;

use serde::{Deserialize, Serialize};

pub use view::{DeliveryView, EventView};

use crate::backhaul::{RefusedReactions, StreamState};
use crate::event::Event;
use crate::id::{Region, UserId};
use crate::limits::{Batching, Limits};
use crate::position::Position;
use crate::stream::Life;
use crate::time::Millis;
use crate::tokens::{TokenKey, TokenRules};

/// What `init` and `configured` carry, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionConfig {
    /// The shard's number, part of every comment id it mints.
    pub shard: u8,
    /// The keys that tokens may be signed with.
    pub keys: Vec<TokenKey>,
    /// A JWKS document whose keys count too.
    pub jwks: Option<serde_json::Value>,
    /// What tokens must say.
    pub token_rules: TokenRules,
    /// Bounds.
    pub limits: Limits,
    /// Grouping.
    pub batching: Batching,
}

/// What `control` carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Control {
    /// The right to mint comment ids as this worker.
    Lease {
        /// 0 to 1023.
        worker: u16,
        /// Not from this time on.
        until_ms: Millis,
    },
    /// How a stream stands; the first answer to `subscribe`. `None`: there is no such stream.
    State(Option<Box<StreamState>>),
    /// The stream itself changed: its status, title or settings.
    Life(Box<Life>),
    /// The backhaul is away or back. While it is away posts wait.
    Backhaul {
        /// Whether a gateway is connected.
        connected: bool,
    },
    /// Reactions that were taken here and not added: their users' limits were used up elsewhere.
    ReactionsRefused(Vec<RefusedReactions>),
    /// A word to all connections of a user.
    User {
        /// To whom.
        user: UserId,
        /// A [`crate::presence::UserWord`] as MessagePack.
        #[serde(with = "serde_bytes")]
        word: Vec<u8>,
    },
}

/// What `delivered` carries: new events of one region's log for one stream, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Whose log.
    pub region: Region,
    /// Which incarnation of it.
    pub epoch: u64,
    /// The sequence after which this begins.
    pub from: u64,
    /// The sequence up to which nothing is missing after this.
    pub to: u64,
    /// What there is in `(from, to]`.
    pub events: Vec<Event>,
}

/// What `replayed` carries: all there is in `(from, to]` of every region, sorted by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// What was asked for cannot be had whole: too old, another epoch, or more than asked.
    pub gap: bool,
    /// Empty when `gap`.
    pub events: Vec<Event>,
}

/// What a `replay` output carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRange {
    /// After this,
    pub from: Position,
    /// up to this, inclusive.
    pub to: Position,
    /// More events than this is a gap.
    pub events_max: u32,
}
