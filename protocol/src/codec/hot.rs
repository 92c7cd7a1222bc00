//! The messages that come by the thousand, read in one pass without a copy of their texts.
//!
//! Only the usual form of a post and of a reaction to a stream is read here. Whatever is out of the ordinary – another
//! type, a field unknown or twice, a number that is none, anything malformed – is `None` and left to
//! [`super::Incoming`], whose word on what is accepted and what is wrong with it counts. So this reader may give
//! up freely, but must never take what that one refuses or reads otherwise: a property test holds them together.

use std::borrow::Cow;

use super::{Encoding, json, msgpack};
use crate::client::{ClientMessage, PostComment, PostView, React, ReactView};
use crate::id::{ClientId, CommentId, IdError, StreamId};

/// A message whose texts lie in its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hot<'a> {
    /// Write a comment.
    PostComment(PostView<'a>),
    /// React to a stream.
    React(ReactView<'a>),
}

impl Hot<'_> {
    /// The same as the strict readers say it.
    ///
    /// # Errors
    /// An id that is none; `decode_hot` reads only ids that are.
    pub fn message(&self) -> Result<ClientMessage, IdError> {
        Ok(match self {
            Self::PostComment(post) => ClientMessage::PostComment(PostComment {
                stream_id: post.stream_id.parse()?,
                client_id: post.client_id.parse()?,
                content: post.content.clone().into_owned(),
                parent_id: post.parent_id,
                media_ms: post.media_ms,
            }),
            Self::React(react) => ClientMessage::React(React {
                stream_id: react.stream_id.parse()?,
                reaction_type: react.reaction_type.to_owned(),
                comment_id: None,
                count: react.count,
            }),
        })
    }
}

/// Reads a post or a reaction in its usual form; `None` says nothing about the message: see
/// [`super::Incoming`].
#[must_use]
pub fn decode_hot(encoding: Encoding, bytes: &[u8]) -> Option<Hot<'_>> {
    match encoding {
        Encoding::Json => read(json::Reader::new(bytes)?),
        Encoding::MsgPack => read(Maps::new(bytes)),
    }
}

/// A format, read piece by piece; `None` is anything but what was asked for.
trait Reader<'a> {
    /// A map begins.
    fn open(&mut self) -> Option<()>;
    /// The name of the map's next field; `Some(None)` is its end.
    fn name(&mut self) -> Option<Option<&'a [u8]>>;
    /// A text as it stands in the message.
    fn text(&mut self) -> Option<&'a str>;
    /// A text, its escapes undone.
    fn any_text(&mut self) -> Option<Cow<'a, str>>;
    /// A whole number from 0.
    fn number(&mut self) -> Option<u64>;
    /// Takes a null, if there is one.
    fn null(&mut self) -> bool;
    /// Nothing follows.
    fn is_done(&mut self) -> bool;
}

/// The fields of the hot messages; which belong together is looked at when the type is known, as it may come last.
#[derive(Default)]
struct Fields<'a> {
    stream_id: Option<&'a str>,
    client_id: Option<&'a str>,
    content: Option<Cow<'a, str>>,
    /// `Some(None)`: it was there and null.
    parent_id: Option<Option<CommentId>>,
    media_ms: Option<Option<u64>>,
    reaction_type: Option<&'a str>,
    count: Option<Option<u32>>,
}

fn read<'a, R: Reader<'a>>(mut reader: R) -> Option<Hot<'a>> {
    let mut kind = None;
    let mut payload = None;
    reader.open()?;
    while let Some(name) = reader.name()? {
        match name {
            b"type" => once(&mut kind, reader.text().filter(|text| is_hot(text))?)?,
            b"payload" => once(&mut payload, fields(&mut reader)?)?,
            _ => return None,
        }
    }
    if !reader.is_done() {
        return None;
    }
    match (kind?, payload?) {
        (
            "post_comment",
            Fields {
                stream_id,
                client_id,
                content,
                parent_id,
                media_ms,
                reaction_type: None,
                count: None,
            },
        ) => Some(Hot::PostComment(PostView {
            stream_id: stream_id?,
            client_id: client_id?,
            content: content?,
            parent_id: parent_id.flatten(),
            media_ms: media_ms.flatten(),
        })),
        (
            "react",
            Fields {
                stream_id,
                client_id: None,
                content: None,
                parent_id: None,
                media_ms: None,
                reaction_type,
                count,
            },
        ) => Some(Hot::React(ReactView {
            stream_id: stream_id?,
            reaction_type: reaction_type?,
            count: count.flatten(),
        })),
        _ => None,
    }
}

/// The type comes first as a rule, so that giving up on another one costs little.
fn is_hot(kind: &str) -> bool {
    matches!(kind, "post_comment" | "react")
}

fn fields<'a, R: Reader<'a>>(reader: &mut R) -> Option<Fields<'a>> {
    let mut fields = Fields::default();
    reader.open()?;
    while let Some(name) = reader.name()? {
        match name {
            b"stream_id" => {
                let text = reader.text().filter(|text| is_stream_id(text))?;
                once(&mut fields.stream_id, text)?;
            }
            b"client_id" => {
                let text = reader.text().filter(|text| is_client_id(text))?;
                once(&mut fields.client_id, text)?;
            }
            b"content" => once(&mut fields.content, reader.any_text()?)?,
            b"parent_id" => {
                let id = optional(reader, |reader| reader.text()?.parse().ok())?;
                once(&mut fields.parent_id, id)?;
            }
            b"media_ms" => {
                let ms = optional(reader, R::number)?;
                once(&mut fields.media_ms, ms)?;
            }
            b"reaction_type" => once(&mut fields.reaction_type, reader.text()?)?,
            b"count" => {
                let count = optional(reader, |reader| u32::try_from(reader.number()?).ok())?;
                once(&mut fields.count, count)?;
            }
            _ => return None,
        }
    }
    Some(fields)
}

/// A field that may be null.
fn optional<'a, R: Reader<'a>, T>(
    reader: &mut R,
    value: impl FnOnce(&mut R) -> Option<T>,
) -> Option<Option<T>> {
    if reader.null() {
        return Some(None);
    }
    value(reader).map(Some)
}

/// A field that comes twice is an error, which is not for here.
fn once<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

/// What [`StreamId::new`] takes.
fn is_stream_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=StreamId::BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// What [`ClientId::new`] takes, but for what is not ASCII.
fn is_client_id(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b' '..=b'~');
    (1..=ClientId::BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

impl<'a> Reader<'a> for json::Reader<'a> {
    fn open(&mut self) -> Option<()> {
        self.open()
    }

    fn name(&mut self) -> Option<Option<&'a [u8]>> {
        self.name()
    }

    fn text(&mut self) -> Option<&'a str> {
        self.plain_text()
    }

    fn any_text(&mut self) -> Option<Cow<'a, str>> {
        self.text()
    }

    fn number(&mut self) -> Option<u64> {
        self.number()
    }

    fn null(&mut self) -> bool {
        self.null()
    }

    fn is_done(&mut self) -> bool {
        self.is_done()
    }
}

/// MessagePack says at a map's beginning how many fields it has.
struct Maps<'a> {
    reader: msgpack::Reader<'a>,
    /// Fields still to come, of the message and of its payload: no hot message is deeper.
    fields: [usize; 2],
    depth: usize,
}

impl<'a> Maps<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            reader: msgpack::Reader::new(bytes),
            fields: [0; 2],
            depth: 0,
        }
    }
}

impl<'a> Reader<'a> for Maps<'a> {
    fn open(&mut self) -> Option<()> {
        *self.fields.get_mut(self.depth)? = self.reader.map()?;
        self.depth += 1;
        Some(())
    }

    fn name(&mut self) -> Option<Option<&'a [u8]>> {
        let left = self.fields.get_mut(self.depth.checked_sub(1)?)?;
        if *left == 0 {
            self.depth -= 1;
            return Some(None);
        }
        *left -= 1;
        self.reader.text_bytes().map(Some)
    }

    fn text(&mut self) -> Option<&'a str> {
        self.reader.text()
    }

    fn any_text(&mut self) -> Option<Cow<'a, str>> {
        self.reader.text().map(Cow::Borrowed)
    }

    fn number(&mut self) -> Option<u64> {
        self.reader.number()
    }

    fn null(&mut self) -> bool {
        self.reader.null()
    }

    fn is_done(&mut self) -> bool {
        self.reader.rest().is_empty()
    }
}
