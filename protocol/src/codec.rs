//! The two encodings of the clients' protocol: JSON in text frames, MessagePack in binary frames.

mod hot;
pub mod json;
pub mod msgpack;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::client::ClientMessage;
use crate::server::ServerMessage;
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

/// Why a client's message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Its `type` is none of ours.
    #[error("unknown message type `{0}`")]
    UnknownType(String),
    /// Its body cannot be decoded.
    #[error("{message}")]
    Malformed {
        /// What is wrong with it.
        message: String,
        /// The sender's key, where one can be read.
        client_id: Option<String>,
    },
}

/// Deeper nesting is refused before it costs stack.
const DEPTH_MAX: usize = 32;
/// How much of a peer's own text an error repeats.
const ECHO_CHARS_MAX: usize = 64;

const TYPES: [&str; 10] = [
    "authenticate",
    "join_stream",
    "leave_stream",
    "post_comment",
    "react",
    "unreact",
    "delete_comment",
    "moderate",
    "report",
    "ping",
];

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

/// Reads a client's message, whichever it is; [`decode_hot`] may be tried first.
///
/// # Errors
/// [`DecodeError`] says whether the type is unknown or the body is wrong, and whose post it was.
pub fn decode_client(encoding: Encoding, bytes: &[u8]) -> Result<ClientMessage, DecodeError> {
    match read::<ClientMessage>(encoding, bytes) {
        // A number that JSON does not have (MessagePack's NaN and infinities) reads as null, and null is no value.
        Ok(ClientMessage::Ping(Some(serde_json::Value::Null))) => Ok(ClientMessage::Ping(None)),
        Ok(message) => Ok(message),
        Err(message) => Err(explain(encoding, bytes, message)),
    }
}

/// The slow second look at a message that could not be read.
fn explain(encoding: Encoding, bytes: &[u8], message: String) -> DecodeError {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    #[derive(Deserialize)]
    struct Keyed {
        payload: Key,
    }
    #[derive(Deserialize)]
    struct Key {
        client_id: String,
    }
    if let Ok(Kind { r#type }) = read::<Kind>(encoding, bytes)
        && !TYPES.contains(&r#type.as_str())
    {
        return DecodeError::UnknownType(r#type.chars().take(ECHO_CHARS_MAX).collect());
    }
    let client_id = read::<Keyed>(encoding, bytes)
        .ok()
        .map(|keyed| keyed.payload.client_id);
    let message = match encoding {
        _ if bytes.is_empty() => "the message is empty".to_owned(),
        Encoding::MsgPack if named::<IgnoredAny>(bytes).is_err() => {
            "the message is not MessagePack".to_owned()
        }
        Encoding::Json | Encoding::MsgPack => message,
    };
    DecodeError::Malformed { message, client_id }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::PostComment;

    fn json(text: &str) -> Result<ClientMessage, DecodeError> {
        decode_client(Encoding::Json, text.as_bytes())
    }

    #[test]
    fn a_post_reads_in_both_encodings_with_unknown_fields() {
        let text = r#"{"payload":{"stream_id":"demo","client_id":"c1","content":"hi","parent_id":"77","x":[1]},"type":"post_comment","y":1}"#;
        let message = json(text).expect("a post");
        let ClientMessage::PostComment(PostComment { parent_id, .. }) = &message else {
            panic!("not a post: {message:?}");
        };
        assert_eq!(parent_id.map(|id| id.0), Some(77));
        let mut bytes = Vec::new();
        encode(Encoding::MsgPack, &message, &mut bytes).expect("encodes");
        assert_eq!(decode_client(Encoding::MsgPack, &bytes), Ok(message));
    }

    #[test]
    fn an_unknown_type_is_told_from_a_malformed_body() {
        assert_eq!(
            json(r#"{"type":"dance","payload":{}}"#),
            Err(DecodeError::UnknownType("dance".to_owned()))
        );
        let Err(DecodeError::Malformed { client_id, .. }) = json(
            r#"{"type":"post_comment","payload":{"client_id":"c9","stream_id":"no dots.","content":""}}"#,
        ) else {
            panic!("must be malformed");
        };
        assert_eq!(client_id.as_deref(), Some("c9"));
        assert!(matches!(json("{"), Err(DecodeError::Malformed { .. })));
        assert!(matches!(
            decode_client(Encoding::MsgPack, &[0x91; 500]),
            Err(DecodeError::Malformed { .. })
        ));
    }

    #[test]
    fn ping_carries_anything_or_nothing() {
        assert_eq!(
            json(r#"{"type":"ping","payload":[1,"a"]}"#),
            Ok(ClientMessage::Ping(Some(serde_json::json!([1, "a"]))))
        );
        assert_eq!(json(r#"{"type":"ping"}"#), Ok(ClientMessage::Ping(None)));
    }

    #[test]
    fn a_ping_of_no_number_is_a_ping_of_nothing() {
        // Found by fuzzing: a variant by its index, and a NaN.
        let bytes = [0x92, 0x09, 0xca, 0xff, 0xd0, 0x85, 0xff];
        assert_eq!(
            decode_client(Encoding::MsgPack, &bytes),
            Ok(ClientMessage::Ping(None))
        );
    }
}
