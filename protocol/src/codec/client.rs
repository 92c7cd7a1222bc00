//! Any message of a client, read strictly and the same in both encodings.
//!
//! A message is one map, as is its payload; what is in them is a text, a whole number from 0 or null. What one encoding
//! could say besides (an array in a map's place, a number or bytes in a text's) is refused. Only what nobody reads
//! – unknown fields, what a ping carries – may be anything well-formed. Which types there are, and which fields each has,
//! is not known here: whoever carries a message out asks for its fields by name.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Encoding, msgpack};
use crate::client::Echo;
use crate::id::IdError;

/// Deeper nesting is refused in both encodings. Reading costs no stack; whoever reads the `pong` may need some.
const DEPTH_MAX: usize = 128;

/// Why a client's message, or a field of it, cannot be read. The texts are for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Its bytes are not of its encoding.
    #[error("{0}")]
    Malformed(String),
    /// It is not a map with names.
    #[error("the message must be a map with `type` and `payload`")]
    NoMap,
    /// A field is not there, or null.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field that is asked for comes more than once.
    #[error("`{0}` is there twice")]
    Twice(&'static str),
    /// A field is of another kind.
    #[error("`{name}` must be {what}")]
    Wrong {
        /// Which.
        name: &'static str,
        /// What it should be.
        what: &'static str,
    },
    /// A field is no id.
    #[error("`{name}` {error}")]
    Id {
        /// Which.
        name: &'static str,
        /// Why not.
        error: IdError,
    },
}

/// A client's message: its type and, not yet looked at, its payload. [`super::decode_hot`] may be tried first.
pub struct Incoming<'a> {
    kind: Cow<'a, str>,
    payload: Option<Raw<'a>>,
}

impl<'a> Incoming<'a> {
    /// Reads a whole message.
    ///
    /// # Errors
    /// [`ReadError`] says what is wrong with it; whether its type is known is not looked at.
    pub fn read(encoding: Encoding, bytes: &'a [u8]) -> Result<Self, ReadError> {
        let whole = Raw::whole(encoding, bytes).map_err(ReadError::Malformed)?;
        let envelope = Fields::read(whole).ok_or(ReadError::NoMap)?;
        Ok(Self {
            kind: envelope.text("type")?,
            payload: envelope.find("payload")?,
        })
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The fields of its payload.
    ///
    /// # Errors
    /// When it has none, or it is no map.
    pub fn fields(&self) -> Result<Fields<'a>, ReadError> {
        let payload = self.payload.ok_or(ReadError::Missing("payload"))?;
        Fields::read(payload).ok_or(ReadError::Wrong {
            name: "payload",
            what: "a map",
        })
    }

    /// Its payload as it lies there; `None` when there is none, or null.
    #[must_use]
    pub fn echo(&self) -> Option<Echo<'a>> {
        self.payload.map(Raw::echo)
    }
}

/// The fields of a map, each as it lies there; as many as the message has bytes for.
pub struct Fields<'a>(Vec<(Cow<'a, str>, Raw<'a>)>);

impl<'a> Fields<'a> {
    fn read(map: Raw<'a>) -> Option<Self> {
        let mut fields = Vec::with_capacity(8);
        map.each(&mut |name, value| fields.push((name, value)))
            .ok()?;
        Some(Self(fields))
    }

    /// What is there and not null.
    fn find(&self, name: &'static str) -> Result<Option<Raw<'a>>, ReadError> {
        let mut named = self.0.iter().filter(|(known, _)| known == name);
        let found = named.next().map(|&(_, value)| value);
        if named.next().is_some() {
            return Err(ReadError::Twice(name));
        }
        Ok(found.filter(|value| !value.is_null()))
    }

    fn required<T>(
        &self,
        name: &'static str,
        what: &'static str,
        read: impl Fn(Raw<'a>) -> Option<T>,
    ) -> Result<T, ReadError> {
        let value = self.find(name)?.ok_or(ReadError::Missing(name))?;
        read(value).ok_or(ReadError::Wrong { name, what })
    }

    /// A field that may be missing or null, read by one of the others: `optional("count", Fields::number)`.
    ///
    /// # Errors
    /// What `read` says of a field that is there, or that it comes twice.
    pub fn optional<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Self, &'static str) -> Result<T, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        match self.find(name)? {
            Some(_) => read(self, name).map(Some),
            None => Ok(None),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// When it is missing, comes twice or is none.
    pub fn text(&self, name: &'static str) -> Result<Cow<'a, str>, ReadError> {
        self.required(name, "a text", Raw::text)
    }

    /// An id.
    ///
    /// # Errors
    /// When it is missing, comes twice or is none.
    pub fn id<T: std::str::FromStr<Err = IdError>>(
        &self,
        name: &'static str,
    ) -> Result<T, ReadError> {
        let parsed = self.text(name)?.parse();
        parsed.map_err(|error| ReadError::Id { name, error })
    }

    /// A whole number from 0 that its type can hold.
    ///
    /// # Errors
    /// When it is missing, comes twice or is none.
    pub fn number<T: TryFrom<u64>>(&self, name: &'static str) -> Result<T, ReadError> {
        let read = |value: Raw<'_>| value.number().and_then(|number| T::try_from(number).ok());
        self.required(name, "a whole number in its range", read)
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
    fn each(self, take: &mut dyn FnMut(Cow<'a, str>, Self)) -> Result<(), NotThat> {
        match self {
            Self::Json(raw) => serde_json::Deserializer::from_str(raw.get())
                .deserialize_map(Each(take))
                .map_err(|_| NotThat),
            Self::MsgPack(bytes) => {
                let mut reader = msgpack::Reader::new(bytes);
                let mut read = |reader: &mut msgpack::Reader<'a>| {
                    for _ in 0..reader.map()? {
                        let name = reader.text()?;
                        take(Cow::Borrowed(name), Self::MsgPack(reader.value(DEPTH_MAX)?));
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
struct Each<'f, 'a>(&'f mut dyn FnMut(Cow<'a, str>, Raw<'a>));

impl<'de> Visitor<'de> for Each<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Name<'de>>()? {
            (self.0)(name.0, Raw::Json(map.next_value()?));
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
