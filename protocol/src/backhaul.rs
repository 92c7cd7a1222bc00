//! What a PoP and a gateway tell each other over QUIC.
//!
//! Every message on a lane is a little-endian `u32` length and that many bytes of MessagePack with named fields. A lane's
//! first message is a [`Lane`]: it says what the lane is for.
//!
//! Neighbours of different builds understand each other: fields that are not known are passed over, messages that are not
//! known are too ([`read_message`]), and what may be missing has a default. `Hello` names the versions that its sender
//! speaks, `Welcome` the one that counts. A version is left behind only when no build in use speaks it alone; recorded
//! bytes of every version hold this in a test.
//!
//! | lane | opened by | carries |
//! | --- | --- | --- |
//! | `Control` | PoP, bidirectional | [`ToGateway`] up, [`ToPop`] down |
//! | `Posts` | PoP, bidirectional | [`Publish`] up, [`Published`] down |
//! | `Quiet` | gateway, one way | [`crate::session::Delivery`] of all streams with few comments, see [`write_quiet`] |
//! | `Deliveries` | gateway, one way, one per busy stream | [`crate::session::Delivery`] |
//! | `Request` | PoP, bidirectional, one per request | one [`Request`] up, one [`Response`] down |
//! | datagrams | both | [`Datagram`]: what may be lost |
//!
//! A stream moves from the quiet lane to one of its own when it gets busy or the PoP reads too slowly. Deliveries of one
//! lane come in order; one over the new lane may overtake those of the old, and waits for them at the PoP.

use serde::{Deserialize, Serialize};

use crate::codec::msgpack::Reader;
use crate::event::Event;
use crate::id::{PopId, Region, StreamId, UserId};
use crate::outcome::Outcome;
use crate::position::Position;
use crate::presence::Pop;
use crate::server::Reactions;
use crate::stream::{Life, Revision, StreamInfo};
use crate::time::Millis;

/// The oldest and the newest version that this build speaks. Without a common one the connection ends with
/// [`CloseCode::Version`].
pub const VERSIONS: [u16; 2] = [4, 4];

/// Removals of comments that are not in a state, at most; the oldest is left out.
pub const REMOVALS_AHEAD_MAX: usize = 100;

/// The newest version that both speak.
#[must_use]
pub fn common_version(ours: [u16; 2], theirs: [u16; 2]) -> Option<u16> {
    let newest = ours[1].min(theirs[1]);
    (newest >= ours[0].max(theirs[0])).then_some(newest)
}

/// The ALPN name.
pub const ALPN: &[u8] = b"chorus-backhaul/1";
/// Bytes of one message on a lane; a longer one ends the connection.
pub const MESSAGE_BYTES_MAX: u32 = 48 << 20;

/// Why a side ended the connection, as QUIC's application error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CloseCode {
    /// Going away, connect elsewhere.
    GoingAway = 0,
    /// Another version.
    Version = 1,
    /// A message that cannot be read.
    Malformed = 2,
    /// No worker id is free.
    NoWorker = 3,
}

/// A lane's first message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lane {
    /// See the table above.
    Control,
    /// See the table above.
    Posts,
    /// See the table above.
    Deliveries {
        /// Whose.
        stream: StreamId,
    },
    /// See the table above.
    Request,
    /// See the table above.
    Quiet,
}

/// Up on the control lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGateway {
    /// First of all.
    Hello {
        /// The oldest and the newest version spoken, see [`VERSIONS`].
        versions: [u16; 2],
        /// Which PoP.
        pop: PopId,
        /// Which process of it: a number drawn at its start.
        process: u64,
        /// Its region; the gateway's where it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<Region>,
        /// Where browsers reach it, see [`crate::presence::check_url`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
    /// Follow a stream: answered by [`ToPop::Held`], then deliveries.
    Hold {
        /// Which.
        stream: StreamId,
        /// What the PoP has of it already; `None` asks for the state and the newest.
        #[serde(default)]
        have: Option<Position>,
        /// A moderator is there: everything, not only what is sampled.
        #[serde(default)]
        full: bool,
        /// Which life of the stream the PoP knows: a newer one is told by [`ToPop::Life`].
        #[serde(default)]
        knows: Option<Revision>,
    },
    /// Follow it no longer.
    Release {
        /// Which.
        stream: StreamId,
    },
    /// Keep the worker id.
    Renew,
    /// How full the PoP is: said when connected and on a change, once in a second at most.
    Load {
        /// WebSockets open.
        connections: u64,
        /// It closes them and takes no more.
        draining: bool,
    },
}

/// Down on the control lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToPop {
    /// The answer to `Hello`.
    Welcome {
        /// The version that counts from here on.
        version: u16,
        /// The gateway's region.
        region: Region,
        /// The gateway's clock.
        now_ms: Millis,
        /// The worker id leased to this process.
        worker: u16,
        /// Not valid from this time on.
        until_ms: Millis,
    },
    /// The answer to `Renew`.
    Renewed {
        /// The worker id, another one when the old was lost.
        worker: u16,
        /// Not valid from this time on.
        until_ms: Millis,
        /// The gateway's clock.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        now_ms: Option<Millis>,
    },
    /// The answer to `Hold`. Deliveries begin where `state.at` (or, on a resumed hold, `have`) stands.
    Held {
        /// Which stream.
        stream: StreamId,
        /// How it stands.
        held: Held,
    },
    /// A held stream changed, or is not as the PoP said it knows it. Comes after `Held`; of several only the last counts.
    Life {
        /// Which stream.
        stream: StreamId,
        /// How it stands now.
        life: Box<Life>,
    },
    /// Reactions that were not added: their users' limits were used up.
    ReactionsRefused(Vec<RefusedReactions>),
}

/// How a `Hold` came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Held {
    /// There is no such stream.
    Unknown,
    /// The state, with the newest comments; deliveries begin at `state.at`.
    Fresh(Box<StreamState>),
    /// Deliveries go on from the position the PoP has.
    Resumed,
    /// What lies between the PoP's position and today cannot be had; the state as it is now.
    Gap(Box<StreamState>),
}

/// How a stream stands at a position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamState {
    /// The stream.
    pub info: StreamInfo,
    /// All of `newest` and of the counts is at this position.
    pub at: Position,
    /// The newest comments, oldest first, at most [`crate::limits::Limits::newest_max`] of the gateway's configuration and
    /// none that was taken away; behind them the decisions that stand about them (see [`crate::event::kind`]).
    pub newest: Vec<Event>,
    /// Comments of the stream.
    pub comment_count: u64,
    /// Running totals.
    pub reactions: Reactions,
    /// Viewers at all PoPs.
    pub viewer_count: u64,
    /// The place of `info` in the control log, see [`Life::seq`].
    #[serde(default)]
    pub life_seq: u64,
}

impl StreamState {
    /// Which life of the stream `info` is.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision {
            created_at_ms: self.info.created_at_ms,
            seq: self.life_seq,
        }
    }

    /// The stream itself.
    #[must_use]
    pub fn life(&self) -> Life {
        Life {
            info: self.info.clone(),
            seq: self.life_seq,
        }
    }

    /// Takes another life in when it is newer; true when it was.
    pub fn take_life(&mut self, life: &Life) -> bool {
        let newer = life.revision() > self.revision();
        if newer {
            self.info = life.info.clone();
            self.life_seq = life.seq;
        }
        newer
    }
}

/// Up on the posts lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Publish {
    /// Write an event to the log.
    Event {
        /// The PoP's number for it, comes back in [`Published`].
        request: u64,
        /// Its body, see [`crate::event::Envelope`].
        #[serde(with = "serde_bytes")]
        event: Vec<u8>,
    },
    /// Add to the reaction totals.
    Reactions {
        /// The PoP's number for it, comes back in [`Published`].
        request: u64,
        /// The stream.
        stream: StreamId,
        /// Drawn once for this increment: the counter's message id is made of it and the type.
        #[serde(with = "key_bytes")]
        key: u128,
        /// By how much each type grows for those whom no limit holds.
        by: Reactions,
        /// And for the others: the gateway adds what their limits let in, see [`ToPop::ReactionsRefused`].
        #[serde(default)]
        users: Vec<UserReactions>,
    },
}

/// Users in one [`Publish::Reactions`]; a message with more is refused.
pub const REACTION_USERS_MAX: usize = 65_536;

/// What one user adds to the reaction totals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserReactions {
    /// Who.
    pub user: UserId,
    /// By how much each type grows.
    pub by: Reactions,
}

/// Reactions of one user that were not added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReactions {
    /// Whose.
    pub user: UserId,
    /// How many.
    pub count: u64,
    /// When one more would be let in, from now on, in milliseconds.
    pub retry_after_ms: u64,
}

/// Down on the posts lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Whose answer it is.
    pub request: u64,
    /// How it came out. [`Outcome::Unknown`] is sent again under the same key.
    pub outcome: Outcome,
}

/// Up on a request lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// What a stream's logs hold in a range.
    Replay {
        /// Which.
        stream: StreamId,
        /// The range.
        range: crate::session::ReplayRange,
    },
    /// A call of the REST interface, answered by the `api` role.
    Rest(RestRequest),
    /// Which PoPs there are.
    Pops,
}

/// Down on a request lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To `Replay`.
    Replay(crate::session::Replayed),
    /// To `Rest`.
    Rest(RestResponse),
    /// It could not be answered now.
    Unavailable,
    /// To `Pops`: those of all regions.
    Pops(Vec<Pop>),
}

/// A call of the REST interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestRequest {
    /// `GET`, `POST`, ….
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The body, at most [`REST_BODY_BYTES_MAX`].
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// The `Content-Type` header, where there is a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// Bytes of a REST request's body; more is answered 413.
pub const REST_BODY_BYTES_MAX: usize = 64 << 10;

/// The answer to a call of the REST interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestResponse {
    /// The HTTP status.
    pub status: u16,
    /// The body's type.
    pub content_type: String,
    /// The body.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// Header fields beyond the type: names in lower case; a PoP passes on those of its allow-list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

/// What may be lost: the next one makes good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Datagram {
    /// Gateway to PoP: a stream's totals. Of `reactions` only the types that changed, or all on a refresh.
    Totals {
        /// Which.
        stream: StreamId,
        /// Running totals.
        reactions: Reactions,
        /// Viewers at all PoPs, when that changed.
        viewers: Option<u64>,
    },
    /// PoP to gateway: how many viewers of a stream are here, sent when it changes and every
    /// [`VIEWING_MS`].
    Viewing {
        /// Which.
        stream: StreamId,
        /// How many.
        count: u64,
    },
}

/// How often a PoP repeats its viewer counts, in milliseconds; a count not repeated for three of these is gone.
pub const VIEWING_MS: u64 = 5_000;

/// A `u128` as 16 big-endian bytes: MessagePack has no wider number than 64 bits.
mod key_bytes {
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&key.to_be_bytes())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u128, D::Error> {
        let bytes: serde_bytes::ByteArray<16> = serde::Deserialize::deserialize(deserializer)?;
        Ok(u128::from_be_bytes(bytes.into_array()))
    }
}

/// Why a lane's bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes is too long")]
    TooLong(u32),
    /// Not the MessagePack expected.
    #[error("cannot be read: {0}")]
    Malformed(String),
}

/// Appends a message with its length.
///
/// # Errors
/// When the value cannot be encoded or is longer than [`MESSAGE_BYTES_MAX`]; `into` is then as before.
pub fn write_frame<T: Serialize>(value: &T, into: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = into.len();
    into.extend_from_slice(&[0; 4]);
    if let Err(error) = rmp_serde::encode::write_named(into, value) {
        into.truncate(start);
        return Err(FrameError::Malformed(error.to_string()));
    }
    let length = into.len() - start - 4;
    match u32::try_from(length) {
        Ok(length) if length <= MESSAGE_BYTES_MAX => {
            into[start..start + 4].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        _ => {
            into.truncate(start);
            Err(FrameError::TooLong(
                u32::try_from(length).unwrap_or(u32::MAX),
            ))
        }
    }
}

/// A message's bytes and what follows it.
pub type Split<'a> = (&'a [u8], &'a [u8]);

/// The first message's bytes in `buffer` and what follows it, or `None` until it is whole.
///
/// # Errors
/// When its length is over [`MESSAGE_BYTES_MAX`].
pub fn split_frame(buffer: &[u8]) -> Result<Option<Split<'_>>, FrameError> {
    let Some((head, rest)) = buffer.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*head);
    if length > MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    Ok(rest.split_at_checked(length as usize))
}

/// A message alone, as a datagram carries it: without a length.
///
/// # Errors
/// When the value cannot be encoded.
pub fn write_bare<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    rmp_serde::to_vec_named(value).map_err(|error| FrameError::Malformed(error.to_string()))
}

/// Reads a message's bytes.
///
/// # Errors
/// When they are not the MessagePack of a `T`.
pub fn read_frame<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, FrameError> {
    rmp_serde::from_slice(bytes).map_err(|error| FrameError::Malformed(error.to_string()))
}

/// Reads one of several messages, as [`read_frame`]; `None` for one of a later version, which is passed over.
///
/// # Errors
/// When the bytes are not MessagePack, or a message that is known cannot be read.
pub fn read_message<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<Option<T>, FrameError> {
    match read_frame(bytes) {
        Ok(message) => Ok(Some(message)),
        Err(error) => match variant(bytes) {
            Some(name) if !Variants::of::<T>().contains(&name) => Ok(None),
            _ => Err(error),
        },
    }
}

/// The name of an enum's variant: a text, or a map of one field with that name.
fn variant(bytes: &[u8]) -> Option<&str> {
    let mut reader = Reader::new(bytes);
    if bytes.first()? & 0xf0 == 0x80 && reader.map()? != 1 {
        return None;
    }
    reader.text()
}

/// A deserializer that only asks an enum for the names of its variants.
struct Variants(&'static [&'static str]);

impl Variants {
    fn of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
        let mut asked = Self(&[]);
        // It never gives a value.
        let _ = T::deserialize(&mut asked);
        asked.0
    }
}

impl<'de> serde::Deserializer<'de> for &mut Variants {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("not an enum"))
    }

    fn deserialize_enum<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0 = variants;
        Err(serde::de::Error::custom("names only"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Appends a message of the quiet lane: after its length a byte with the length of the stream's id, the id, and the
/// delivery, which is MessagePack already.
///
/// # Errors
/// When it is longer than [`MESSAGE_BYTES_MAX`]; `into` is then as before.
pub fn write_quiet(
    stream: &StreamId,
    delivery: &[u8],
    into: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let name = stream.as_str().as_bytes();
    let long = || FrameError::TooLong(u32::try_from(delivery.len()).unwrap_or(u32::MAX));
    let name_length = u8::try_from(name.len()).map_err(|_| long())?;
    let length = u32::try_from(1 + name.len() + delivery.len()).map_err(|_| long())?;
    if length > MESSAGE_BYTES_MAX {
        return Err(long());
    }
    into.extend_from_slice(&length.to_le_bytes());
    into.push(name_length);
    into.extend_from_slice(name);
    into.extend_from_slice(delivery);
    Ok(())
}

/// Whose delivery a message of the quiet lane is, as it says, and where in it the delivery begins.
///
/// # Errors
/// When it does not begin with a name.
pub fn quiet_parts(message: &[u8]) -> Result<(&str, usize), FrameError> {
    let name = message
        .split_first()
        .and_then(|(length, rest)| rest.get(..usize::from(*length)))
        .and_then(|name| std::str::from_utf8(name).ok())
        .ok_or_else(|| FrameError::Malformed("no stream".to_owned()))?;
    Ok((name, 1 + name.len()))
}

/// As [`quiet_parts`], with the id of the stream.
///
/// # Errors
/// When it does not begin with the id of a stream.
pub fn split_quiet(message: &[u8]) -> Result<(StreamId, usize), FrameError> {
    let (name, at) = quiet_parts(message)?;
    let stream = name
        .parse()
        .map_err(|error| FrameError::Malformed(format!("no stream: {error}")))?;
    Ok((stream, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_survives_the_quiet_lane() {
        let stream: StreamId = "demo".parse().expect("a stream id");
        let mut lane = Vec::new();
        write_quiet(&stream, b"what it is", &mut lane).expect("fits");
        write_quiet(&stream, b"", &mut lane).expect("fits");
        let (first, rest) = split_frame(&lane).expect("sane").expect("whole");
        let (of, at) = split_quiet(first).expect("readable");
        assert_eq!((of, &first[at..]), (stream.clone(), &b"what it is"[..]));
        let (second, rest) = split_frame(rest).expect("sane").expect("whole");
        assert_eq!(split_quiet(second), Ok((stream, second.len())));
        assert!(rest.is_empty());
        for cut in [&b""[..], b"\x04dem", b"\x04d mo", b"\x02\xff\xff"] {
            assert!(split_quiet(cut).is_err(), "{cut:?}");
        }
    }

    #[test]
    fn a_frame_survives_the_lane() {
        let publish = Publish::Reactions {
            request: 9,
            stream: "demo".parse().expect("a stream id"),
            key: u128::MAX - 1,
            by: Reactions::from([("like".to_owned(), 20)]),
            users: vec![UserReactions {
                user: "ann".parse().expect("a user"),
                by: Reactions::from([("wow".to_owned(), 1)]),
            }],
        };
        let mut lane = Vec::new();
        write_frame(&publish, &mut lane).expect("fits");
        write_frame(&Lane::Posts, &mut lane).expect("fits");
        assert_eq!(split_frame(&lane[..3]), Ok(None));
        assert_eq!(split_frame(&lane[..10]), Ok(None));
        let (first, rest) = split_frame(&lane).expect("sane").expect("whole");
        assert_eq!(read_frame::<Publish>(first), Ok(publish));
        let (second, rest) = split_frame(rest).expect("sane").expect("whole");
        assert_eq!(read_frame::<Lane>(second), Ok(Lane::Posts));
        assert!(rest.is_empty());
        assert!(read_frame::<Publish>(&[0xc1]).is_err());
    }

    #[test]
    fn a_message_of_tomorrow_is_passed_over_and_a_broken_one_is_not() {
        let known = write_bare(&ToGateway::Renew).expect("writes");
        assert_eq!(read_message(&known), Ok(Some(ToGateway::Renew)));
        let tomorrow = write_bare(&serde_json::json!({"Applaud": {"hands": 2}})).expect("writes");
        assert_eq!(read_message::<ToGateway>(&tomorrow), Ok(None));
        let alone = write_bare(&"Applaud").expect("writes");
        assert_eq!(read_message::<ToGateway>(&alone), Ok(None));
        let broken = write_bare(&serde_json::json!({"Release": {"stream": "no stream"}}));
        assert!(read_message::<ToGateway>(&broken.expect("writes")).is_err());
        assert!(read_message::<ToGateway>(&[0xc1]).is_err());
        assert!(read_message::<ToGateway>(&known[..2]).is_err());
    }

    #[test]
    fn the_newest_common_version_counts() {
        assert_eq!(common_version([4, 6], [5, 7]), Some(6));
        assert_eq!(common_version([4, 4], [4, 9]), Some(4));
        assert_eq!(common_version([4, 5], [6, 9]), None);
        assert_eq!(common_version([6, 9], [4, 5]), None);
    }
}
