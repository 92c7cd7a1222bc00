//! Any message of a client, read strictly and the same in both encodings.
//!
//! A message is one map, as is its payload; what is in them is a text, a whole number from 0 or null. What one encoding
//! could say besides (an array in a map's place, a number or bytes in a text's) is refused. Only what nobody reads
//! here – unknown fields, what a ping carries – may be anything well-formed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{DecodeError, Encoding, msgpack};
use crate::client::{ClientMessage, Echo, PostComment};
use crate::id::IdError;

/// Deeper nesting is refused in both encodings. Reading costs no stack; whoever reads the `pong` may need some.
const DEPTH_MAX: usize = 128;
/// How much of a peer's own text an error repeats.
const ECHO_CHARS_MAX: usize = 64;

/// Reads a client's message, whichever it is; [`super::decode_hot`] may be tried first.
///
/// # Errors
/// [`DecodeError`] says whether the type is unknown or the body is wrong, and whose post it was.
pub fn decode_client(
    encoding: Encoding,
    bytes: &[u8],
) -> Result<ClientMessage<Echo<'_>>, DecodeError> {
    let malformed = |message| DecodeError::Malformed {
        message,
        client_id: None,
    };
    let envelope = Fields::read(ENVELOPE, Raw::whole(encoding, bytes).map_err(malformed)?)
        .map_err(|_| malformed("the message must be a map with `type` and `payload`".to_owned()))?;
    let kind = envelope.text(TYPE).map_err(malformed)?;
    let payload = envelope.optional(PAYLOAD).map_err(malformed)?;
    if kind == "ping" {
        return Ok(ClientMessage::Ping(payload.map(Raw::echo)));
    }
    if !TYPES.contains(&&*kind) {
        return Err(DecodeError::UnknownType(
            kind.chars().take(ECHO_CHARS_MAX).collect(),
        ));
    }
    let payload = payload.ok_or_else(|| malformed("`payload` is missing".to_owned()))?;
    let fields = Fields::read(FIELDS, payload)
        .map_err(|_| malformed("`payload` must be a map".to_owned()))?;
    message(&kind, &fields).map_err(|message| DecodeError::Malformed {
        message,
        client_id: fields.text(CLIENT_ID).ok().map(Cow::into_owned),
    })
}

/// All but `ping`.
const TYPES: [&str; 9] = [
    "authenticate",
    "join_stream",
    "leave_stream",
    "post_comment",
    "react",
    "unreact",
    "delete_comment",
    "moderate",
    "report",
];

const ENVELOPE: &[&str] = &["type", "payload"];
const TYPE: usize = 0;
const PAYLOAD: usize = 1;

const FIELDS: &[&str] = &[
    "stream_id",
    "client_id",
    "content",
    "parent_id",
    "media_ms",
    "reaction_type",
    "comment_id",
    "count",
    "token",
    "resume",
    "action",
    "reason",
];
const STREAM_ID: usize = 0;
const CLIENT_ID: usize = 1;
const CONTENT: usize = 2;
const PARENT_ID: usize = 3;
const MEDIA_MS: usize = 4;
const REACTION_TYPE: usize = 5;
const COMMENT_ID: usize = 6;
const COUNT: usize = 7;
const TOKEN: usize = 8;
const RESUME: usize = 9;
const ACTION: usize = 10;
const REASON: usize = 11;

fn message<'a>(kind: &str, fields: &Fields<'a>) -> Result<ClientMessage<Echo<'a>>, String> {
    let text = |at| fields.text(at).map(Cow::into_owned);
    Ok(match kind {
        "authenticate" => ClientMessage::Authenticate {
            token: text(TOKEN)?,
        },
        "join_stream" => ClientMessage::JoinStream {
            stream_id: fields.id(STREAM_ID)?,
            resume: fields.some(RESUME, Fields::text)?.map(Cow::into_owned),
        },
        "leave_stream" => ClientMessage::LeaveStream {
            stream_id: fields.id(STREAM_ID)?,
        },
        "post_comment" => ClientMessage::PostComment(PostComment {
            stream_id: fields.id(STREAM_ID)?,
            client_id: fields.id(CLIENT_ID)?,
            content: text(CONTENT)?,
            parent_id: fields.some(PARENT_ID, Fields::id)?,
            media_ms: fields.some(MEDIA_MS, Fields::number)?,
        }),
        "react" => ClientMessage::React {
            stream_id: fields.id(STREAM_ID)?,
            reaction_type: text(REACTION_TYPE)?,
            comment_id: fields.some(COMMENT_ID, Fields::id)?,
            count: fields.some(COUNT, Fields::number)?,
        },
        "unreact" => ClientMessage::Unreact {
            stream_id: fields.id(STREAM_ID)?,
            comment_id: fields.id(COMMENT_ID)?,
            reaction_type: text(REACTION_TYPE)?,
        },
        "delete_comment" => ClientMessage::DeleteComment {
            stream_id: fields.id(STREAM_ID)?,
            comment_id: fields.id(COMMENT_ID)?,
            client_id: fields.some(CLIENT_ID, Fields::id)?,
        },
        "moderate" => ClientMessage::Moderate {
            stream_id: fields.id(STREAM_ID)?,
            client_id: fields.id(CLIENT_ID)?,
            action: text(ACTION)?,
        },
        // The types were looked at.
        _ => ClientMessage::Report {
            stream_id: fields.id(STREAM_ID)?,
            comment_id: fields.id(COMMENT_ID)?,
            reason: text(REASON)?,
        },
    })
}

/// The fields of a map that are known, each as it lies there.
struct Fields<'a> {
    names: &'static [&'static str],
    values: [Option<Raw<'a>>; FIELDS.len()],
    /// A bit for each that came twice, which is wrong only for a message that has it.
    twice: u16,
}

impl<'a> Fields<'a> {
    fn read(names: &'static [&'static str], map: Raw<'a>) -> Result<Self, NotThat> {
        let mut fields = Self {
            names,
            values: [None; FIELDS.len()],
            twice: 0,
        };
        map.each(&mut |name, value| {
            if let Some(at) = names.iter().position(|&known| known == name)
                && fields.values[at].replace(value).is_some()
            {
                fields.twice |= 1 << at;
            }
        })?;
        Ok(fields)
    }

    /// What is there and not null.
    fn optional(&self, at: usize) -> Result<Option<Raw<'a>>, String> {
        if self.twice & 1 << at != 0 {
            return Err(format!("`{}` is there twice", self.names[at]));
        }
        Ok(self.values[at].filter(|value| !value.is_null()))
    }

    fn required<T>(
        &self,
        at: usize,
        what: &str,
        read: impl Fn(Raw<'a>) -> Option<T>,
    ) -> Result<T, String> {
        let name = self.names[at];
        let value = self
            .optional(at)?
            .ok_or_else(|| format!("`{name}` is missing"))?;
        read(value).ok_or_else(|| format!("`{name}` must be {what}"))
    }

    fn some<T>(
        &self,
        at: usize,
        read: impl Fn(&Self, usize) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        match self.optional(at)? {
            Some(_) => read(self, at).map(Some),
            None => Ok(None),
        }
    }

    fn text(&self, at: usize) -> Result<Cow<'a, str>, String> {
        self.required(at, "a text", Raw::text)
    }

    fn id<T: std::str::FromStr<Err = IdError>>(&self, at: usize) -> Result<T, String> {
        let parsed = self.text(at)?.parse();
        parsed.map_err(|error| format!("`{}` {error}", self.names[at]))
    }

    fn number<T: TryFrom<u64>>(&self, at: usize) -> Result<T, String> {
        let read = |value: Raw<'_>| value.number().and_then(|number| T::try_from(number).ok());
        self.required(at, "a whole number in its range", read)
    }
}

/// A value is not of the kind that was asked for.
#[derive(Debug)]
struct NotThat;

/// One whole, well-formed value.
#[derive(Clone, Copy)]
enum Raw<'a> {
    Json(&'a RawValue),
    MsgPack(&'a [u8]),
}

impl<'a> Raw<'a> {
    /// The value that all of the bytes are.
    fn whole(encoding: Encoding, bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("the message is empty".to_owned());
        }
        match encoding {
            Encoding::Json => {
                let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
                if is_deep(text) {
                    return Err(format!("it nests deeper than {DEPTH_MAX}"));
                }
                serde_json::from_str(text)
                    .map(Self::Json)
                    .map_err(|error| error.to_string())
            }
            Encoding::MsgPack => {
                let mut reader = msgpack::Reader::new(bytes);
                let value = reader.value(DEPTH_MAX);
                match value {
                    None => Err("the message is not MessagePack".to_owned()),
                    Some(_) if !reader.rest().is_empty() => {
                        Err("bytes follow the message".to_owned())
                    }
                    Some(value) => Ok(Self::MsgPack(value)),
                }
            }
        }
    }

    /// Calls `take` with each entry of a map.
    fn each(self, take: &mut dyn FnMut(&str, Self)) -> Result<(), NotThat> {
        match self {
            Self::Json(raw) => serde_json::Deserializer::from_str(raw.get())
                .deserialize_map(Each(take))
                .map_err(|_| NotThat),
            Self::MsgPack(bytes) => {
                let mut reader = msgpack::Reader::new(bytes);
                let mut read = |reader: &mut msgpack::Reader<'a>| {
                    for _ in 0..reader.map()? {
                        let name = reader.text()?;
                        take(name, Self::MsgPack(reader.value(DEPTH_MAX)?));
                    }
                    Some(())
                };
                read(&mut reader).ok_or(NotThat)
            }
        }
    }

    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Json(raw) => serde_json::from_str(raw.get()).ok().map(Cow::Owned),
            Self::MsgPack(bytes) => msgpack::Reader::new(bytes).text().map(Cow::Borrowed),
        }
    }

    fn number(self) -> Option<u64> {
        match self {
            Self::Json(raw) => serde_json::from_str(raw.get()).ok(),
            Self::MsgPack(bytes) => msgpack::Reader::new(bytes).number(),
        }
    }

    fn is_null(&self) -> bool {
        match self {
            Self::Json(raw) => raw.get() == "null",
            Self::MsgPack(bytes) => *bytes == [0xc0],
        }
    }

    fn echo(self) -> Echo<'a> {
        match self {
            Self::Json(raw) => Echo(raw.get().as_bytes()),
            Self::MsgPack(bytes) => Echo(bytes),
        }
    }
}

/// Whether a JSON text nests too deep; what is no JSON may seem so too.
fn is_deep(text: &str) -> bool {
    let mut depth = 0;
    let mut in_text = false;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_text = !in_text,
            b'\\' if in_text => {
                bytes.next();
            }
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth -= 1,
            _ => {}
        }
        if depth > DEPTH_MAX as i32 {
            return true;
        }
    }
    false
}

/// Reads the entries of a JSON object and nothing else.
struct Each<'f, 'a>(&'f mut dyn FnMut(&str, Raw<'a>));

impl<'de> Visitor<'de> for Each<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Name<'de>>()? {
            (self.0)(&name.0, Raw::Json(map.next_value()?));
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
