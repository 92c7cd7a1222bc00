//! The two encodings of the clients' protocol: JSON in text frames, MessagePack in binary frames.

mod client;
mod hot;
pub mod json;
pub mod msgpack;

use serde::{Deserialize, Serialize};

use crate::server::ServerMessage;
pub use client::{Fields, Incoming, ReadError};
pub use hot::{Hot, decode_hot};

/// How a connection encodes its messages; the structure is the same.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// `chorus.v1.json`, text frames.
    #[default]
    Json,
    /// `chorus.v1.msgpack`, binary frames, named fields.
    MsgPack,
}

impl Encoding {
    /// Both, in the order of their indices.
    pub const ALL: [Self; 2] = [Self::Json, Self::MsgPack];

    /// The subprotocol's name in `Sec-WebSocket-Protocol`.
    #[must_use]
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "chorus.v1.json",
            Self::MsgPack => "chorus.v1.msgpack",
        }
    }
}

/// Deeper nesting is refused before it costs stack.
const DEPTH_MAX: usize = 32;

fn named<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    deserializer.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut deserializer)
}

fn read<'de, T: Deserialize<'de>>(encoding: Encoding, bytes: &'de [u8]) -> Result<T, String> {
    match encoding {
        Encoding::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
        Encoding::MsgPack => named(bytes).map_err(|error| error.to_string()),
    }
}

/// Writes any message of the clients' protocol.
///
/// # Errors
/// Only for values that the encoding cannot carry, which none of ours is.
pub fn encode<T: Serialize>(
    encoding: Encoding,
    value: &T,
    into: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    match encoding {
        Encoding::Json => {
            serde_json::to_writer(into, value).map_err(|error| EncodeError(error.to_string()))
        }
        Encoding::MsgPack => {
            let mut serializer = rmp_serde::Serializer::new(into)
                .with_struct_map()
                .with_human_readable();
            value
                .serialize(&mut serializer)
                .map_err(|error| EncodeError(error.to_string()))
        }
    }
}

/// A value that an encoding cannot carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot encode: {0}")]
pub struct EncodeError(String);

/// Reads a server's message, for clients.
///
/// # Errors
/// A text that says what is wrong with it.
pub fn decode_server(encoding: Encoding, bytes: &[u8]) -> Result<ServerMessage, String> {
    read(encoding, bytes)
}
