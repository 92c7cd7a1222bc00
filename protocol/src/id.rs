//! Typed ids. They are parsed where data enters the process.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::time::Millis;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or longer than the kind allows.
    #[error("must have 1 to {max} bytes, has {len}")]
    Length {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A character that this kind of id does not allow.
    #[error("has a character that is not allowed")]
    Character,
    /// Not a decimal number below 2^63.
    #[error("must be a decimal number below 2^63")]
    Number,
}

fn token_bytes(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn no_control_bytes(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Bytes, at most.
            pub const BYTES_MAX: usize = $max;

            /// Makes an id of a valid text.
            ///
            /// # Errors
            /// When the length or a character is not allowed.
            pub fn new(text: &str) -> Result<Self, IdError> {
                if text.is_empty() || text.len() > $max {
                    return Err(IdError::Length { len: text.len(), max: $max });
                }
                if !$allowed(text) {
                    return Err(IdError::Character);
                }
                Ok(Self(Arc::from(text)))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a ", stringify!($name)))
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(|error| {
                            E::custom(format_args!(concat!(stringify!($name), " {}"), error))
                        })
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    };
}

text_id!(
    /// A live broadcast: `[A-Za-z0-9_-]{1,64}`.
    StreamId, 64, token_bytes
);
text_id!(
    /// A user: the `sub` of a token, 1 to 128 bytes without control characters.
    UserId, 128, no_control_bytes
);
text_id!(
    /// The sender's idempotency key, 1 to 64 bytes without control characters.
    ClientId, 64, no_control_bytes
);
text_id!(
    /// A region of the origin: `[A-Za-z0-9_-]{1,32}`.
    Region, 32, token_bytes
);
text_id!(
    /// A point of presence: `[A-Za-z0-9_-]{1,64}`.
    PopId, 64, token_bytes
);

/// A comment's id: 41 bits of milliseconds since [`CommentId::EPOCH`], 10 bits of worker, 4 bits of shard and 8 bits of
/// sequence, so that ids sort by time.
///
/// It is a decimal string in messages to clients, and a number in the messages between servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommentId(pub u64);

impl CommentId {
    /// The time from which the 41 bits count: 2025-01-01T00:00Z.
    pub const EPOCH: Millis = Millis(1_735_689_600_000);
    /// The highest id: 63 bits.
    pub const MAX: Self = Self(u64::MAX >> 1);
    /// The highest worker number.
    pub const WORKER_MAX: u16 = 1023;
    /// The highest shard number.
    pub const SHARD_MAX: u8 = 15;

    /// Composes an id; each part is truncated to its bits.
    #[must_use]
    pub fn compose(at: Millis, worker: u16, shard: u8, sequence: u8) -> Self {
        let ms = at.since(Self::EPOCH) & ((1 << 41) - 1);
        Self(
            ms << 22
                | u64::from(worker & Self::WORKER_MAX) << 12
                | u64::from(shard & Self::SHARD_MAX) << 8
                | u64::from(sequence),
        )
    }

    /// When it was minted.
    #[must_use]
    pub fn minted_at(self) -> Millis {
        Self::EPOCH.plus(self.0 >> 22)
    }

    /// The worker that minted it.
    #[must_use]
    pub fn worker(self) -> u16 {
        ((self.0 >> 12) & u64::from(Self::WORKER_MAX)) as u16
    }
}

impl fmt::Display for CommentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for CommentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(IdError::Number);
        }
        // An id has 63 bits, because stores keep it as a signed number.
        let id = text.parse().map(Self).map_err(|_| IdError::Number)?;
        if id > Self::MAX {
            return Err(IdError::Number);
        }
        Ok(id)
    }
}

impl Serialize for CommentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for CommentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Whether the format is human-readable; then the id must be a string.
        struct Visitor(bool);
        impl de::Visitor<'_> for Visitor {
            type Value = CommentId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a comment id as a decimal string")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<CommentId, E> {
                if self.0 {
                    return Err(E::invalid_type(de::Unexpected::Unsigned(number), &self));
                }
                Ok(CommentId(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CommentId, E> {
                text.parse()
                    .map_err(|error| E::custom(format_args!("comment id {error}")))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor(true))
        } else {
            deserializer.deserialize_u64(Visitor(false))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_then_worker() {
        let early = CommentId::compose(Millis(1_800_000_000_000), 1023, 15, 255);
        let late = CommentId::compose(Millis(1_800_000_000_001), 0, 0, 0);
        assert!(early < late);
        assert_eq!(early.minted_at(), Millis(1_800_000_000_000));
        assert_eq!(early.worker(), 1023);
    }

    #[test]
    fn stream_ids_are_checked() {
        assert!(StreamId::new("demo_1-A").is_ok());
        assert_eq!(StreamId::new("a.b"), Err(IdError::Character));
        assert_eq!(StreamId::new(""), Err(IdError::Length { len: 0, max: 64 }));
    }

    #[test]
    fn comment_ids_are_strings_for_people_and_numbers_between_machines() {
        let id = CommentId(42);
        assert_eq!(serde_json::to_string(&id).ok().as_deref(), Some("\"42\""));
        assert_eq!(rmp_serde::to_vec(&id).ok(), Some(vec![42]));
        assert!(serde_json::from_str::<CommentId>("\"-1\"").is_err());
        assert!(serde_json::from_str::<CommentId>("\"+1\"").is_err());
    }

    #[test]
    fn ids_at_and_above_2_63_are_refused() {
        let last = (1_u64 << 63) - 1;
        assert_eq!(last.to_string().parse(), Ok(CommentId(last)));
        for number in [1_u64 << 63, (1 << 63) + 1, u64::MAX] {
            let read = number.to_string().parse::<CommentId>();
            assert_eq!(read, Err(IdError::Number), "{number}");
        }
    }
}
