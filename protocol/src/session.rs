//! What the host and the session component tell each other inside the byte fields of `wit/edge.wit`.
//!
//! MessagePack with named fields, so that neighbouring versions read each other; configuration is JSON.

use serde::{Deserialize, Serialize};

use crate::backhaul::{Item, StreamState};
use crate::id::Region;
use crate::limits::{Batching, Limits};
use crate::position::Position;
use crate::stream::Life;
use crate::time::Millis;

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
    /// Bounds.
    pub limits: Limits,
    /// Grouping.
    pub batching: Batching,
}

/// A key that tokens may be signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "alg", deny_unknown_fields)]
pub enum TokenKey {
    /// HMAC with SHA-256.
    HS256 {
        /// The key's name in tokens' headers.
        #[serde(default)]
        kid: Option<String>,
        /// The secret, base64url without padding.
        secret: String,
    },
    /// Ed25519.
    EdDSA {
        /// The key's name in tokens' headers.
        #[serde(default)]
        kid: Option<String>,
        /// The 32 bytes of the public key, base64url without padding.
        public: String,
    },
    /// ECDSA on P-256 with SHA-256.
    ES256 {
        /// The key's name in tokens' headers.
        #[serde(default)]
        kid: Option<String>,
        /// The public key as an uncompressed or compressed SEC1 point, base64url without padding.
        public: String,
    },
    /// RSA PKCS#1 v1.5 with SHA-256.
    RS256 {
        /// The key's name in tokens' headers.
        #[serde(default)]
        kid: Option<String>,
        /// The modulus, base64url without padding.
        n: String,
        /// The exponent, base64url without padding.
        e: String,
    },
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
}

/// What `delivered` carries: new items of one region's log for one stream, in the order of the log.
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
    pub items: Vec<Item>,
}

/// What `replayed` carries: all there is in `(from, to]` of every region, sorted by comment id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// What was asked for cannot be had whole: too old, another epoch, or more than asked.
    pub gap: bool,
    /// Empty when `gap`.
    pub items: Vec<Item>,
}

/// What a `replay` output carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRange {
    /// After this,
    pub from: Position,
    /// up to this, inclusive.
    pub to: Position,
    /// More items than this is a gap.
    pub items_max: u32,
}
