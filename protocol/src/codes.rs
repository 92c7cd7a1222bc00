//! The table of all codes: errors, reasons of receipts, statuses, notices and close codes.
//!
//! WebSocket and REST use the same codes. `clients/web/src/sdk/codes.ts` and the tables of `clients/protocol.md` are
//! generated from this file by the test `protocol/tests/codes.rs`, which also compares them.

/// Makes an enum of codes. Each variant has its name in messages and its meaning for the reference.
macro_rules! codes {
    (
        $(#[$docs:meta])*
        $name:ident { $($variant:ident = $text:literal, $meaning:literal;)+ }
    ) => {
        $(#[$docs])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $(#[doc = $meaning] $variant,)+
        }

        impl $name {
            /// Every code, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code's name in messages; it never changes.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// What it means, as the reference says it.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)+
                }
            }

            /// The code of this name; `None` when it is unknown, as one of a later version may be.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text)
                    .ok_or_else(|| serde::de::Error::unknown_variant(&text, &[$($text),+]))
            }
        }
    };
}

codes! {
    /// The `code` of an `error` message and of a REST problem.
    ErrorCode {
        InvalidMessage = "invalid_message", "the message or the request cannot be read";
        UnknownType = "unknown_type", "there is no message of this type";
        UnknownReaction = "unknown_reaction", "the stream has no such reaction";
        NotAvailable = "not_available", "this server does not serve that yet";
        Unauthenticated = "unauthenticated", "a token is needed";
        InvalidToken = "invalid_token", "the token is refused: a new one is needed";
        TokenExpired = "token_expired", "the token has expired: reading goes on, writing needs a new one";
        WrongUser = "wrong_user", "the connection belongs to another user: open a new one";
        Forbidden = "forbidden", "this user may not do that";
        StreamNotFound = "stream_not_found", "there is no such stream";
        StreamEnded = "stream_ended", "the stream has ended: it can be read";
        NotJoined = "not_joined", "the stream is not joined";
        AlreadyJoined = "already_joined", "the stream is joined already";
        TooManyStreams = "too_many_streams", "the connection holds as many streams as it may: leave one first";
        RateLimited = "rate_limited", "too many in too short a time: see `retry_after_ms`";
        Unconfirmed = "unconfirmed", "the outcome of a post is not known: the same `client_id` may be sent again";
        CommentNotFound = "comment_not_found", "the stream has no such comment";
        NotFound = "not_found", "REST: there is no such resource";
        MethodNotAllowed = "method_not_allowed", "REST: the resource has other methods: see `Allow`";
        Conflict = "conflict", "REST: it exists already";
        TooLarge = "too_large", "REST: the body is too large";
        UnsupportedMediaType = "unsupported_media_type", "REST: the body is not `application/json`";
        Timeout = "timeout", "REST: the request or its answer did not come in time";
        Unavailable = "unavailable", "it cannot be done now: see `retry_after_ms` or `Retry-After`";
        Internal = "internal", "a fault of the server";
    }
}

impl ErrorCode {
    /// The HTTP status of a REST problem with this code.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidMessage
            | Self::UnknownType
            | Self::UnknownReaction
            | Self::NotJoined
            | Self::AlreadyJoined
            | Self::TooManyStreams
            | Self::WrongUser => 400,
            Self::Unauthenticated | Self::InvalidToken | Self::TokenExpired => 401,
            Self::Forbidden => 403,
            Self::StreamNotFound | Self::CommentNotFound | Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::Conflict | Self::StreamEnded => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::NotAvailable => 501,
            Self::Unavailable | Self::Unconfirmed => 503,
        }
    }
}

codes! {
    /// The `reason` of a `rejected` receipt.
    Reason {
        Empty = "empty", "nothing that can be seen was written";
        TooLong = "too_long", "more scalar values than a comment may have";
        Invalid = "invalid", "the text or a field of the post is not allowed";
        RateLimited = "rate_limited", "too many comments in too short a time: see `retry_after_ms`";
        SlowMode = "slow_mode", "the stream is in slow mode: see `retry_after_ms`";
        Duplicate = "duplicate", "planned: the same text was written before";
        Spam = "spam", "planned: it looks like spam";
        BlockedWord = "blocked_word", "planned: it has a word that the stream refuses";
        Banned = "banned", "planned: the author may not write here";
        CommentsOff = "comments_off", "the stream takes no comments now";
        FollowersOnly = "followers_only", "planned: only followers may write";
        SubscribersOnly = "subscribers_only", "planned: only subscribers may write";
        EmoteOnly = "emote_only", "planned: only emotes may be written";
        StreamEnded = "stream_ended", "the stream has ended";
        StreamNotFound = "stream_not_found", "there is no such stream";
        NotJoined = "not_joined", "the stream is not joined on this connection";
        Unauthenticated = "unauthenticated", "a token is needed to write";
        TokenExpired = "token_expired", "the token has expired: the same post may be sent again after a new one";
        Forbidden = "forbidden", "this user may not do that";
        CommentNotFound = "comment_not_found", "the stream has no such comment";
        Unavailable = "unavailable", "certainly not stored; it may be tried again after `retry_after_ms`";
    }
}

codes! {
    /// The `status` of a receipt.
    ReceiptStatus {
        Accepted = "accepted", "the PoP took it; no id yet";
        Durable = "durable", "the comment log holds it on a quorum; `comment_id` is known, and it can be read from then on";
        SampledOut = "sampled_out", "planned: stored, not shown live: the stream is too busy to show all";
        Held = "held", "planned: stored, waits for a moderator";
        Rejected = "rejected", "refused, with a `reason`; it may come first and alone, or after `durable` (then it is taken away)";
        Applied = "applied", "of a removal or a moderator's action: in force from now on";
    }
}

codes! {
    /// The `reason` of `comments_removed`.
    RemovalReason {
        Author = "author", "its author took it away";
        Moderator = "moderator", "a moderator or the broadcaster took it away";
    }
}

codes! {
    /// The `kind` of a `notice`.
    NoticeKind {
        Sampling = "sampling", "planned: only a share of the comments is shown; `rate`";
        SlowMode = "slow_mode", "planned: how long to wait between two comments";
        Degraded = "degraded", "planned: a part of the service is away";
    }
}

/// Makes the enum of close codes: number, whether clients reconnect, meaning.
macro_rules! close_codes {
    ($($variant:ident = $number:literal, $again:literal, $meaning:literal;)+) => {
        /// The close codes of a WebSocket: those of RFC 6455 section 7.4 and Chorus's own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum CloseCode {
            $(#[doc = $meaning] $variant = $number,)+
        }

        impl CloseCode {
            /// Every code that a server sends.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// What it means, as the reference says it.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => $meaning,)+
                }
            }

            /// Whether a client reconnects, with backoff. After a code that is not in this table, such as a proxy's, it does.
            #[must_use]
            pub const fn reconnect(self) -> bool {
                match self {
                    $(Self::$variant => $again,)+
                }
            }

            /// The number in the close frame.
            #[must_use]
            pub const fn number(self) -> u16 {
                self as u16
            }
        }
    };
}

close_codes! {
    Normal = 1000, false, "normal";
    GoingAway = 1001, true, "the server is going away: elsewhere if it can be chosen";
    Protocol = 1002, false, "a malformed frame";
    Unsupported = 1003, false, "a kind of frame that the encoding has no use for";
    InvalidData = 1007, false, "a text frame that is not UTF-8";
    TooBig = 1009, false, "a message over the limit";
    Internal = 1011, true, "the message made the server's logic fail";
    BadToken = 4401, false, "bad or expired token: get a new one first";
    Forbidden = 4403, false, "banned or forbidden";
    TooSlow = 4408, true, "too slow a reader";
    TooMany = 4429, true, "too many connections or messages: not at once";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_read_as_it_is_written() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(code));
            let json = serde_json::to_string(&code).expect("writes");
            assert_eq!(json, format!("{:?}", code.as_str()));
            assert_eq!(
                serde_json::from_str::<ErrorCode>(&json).expect("reads"),
                code
            );
            assert!((400..=599).contains(&code.http_status()), "{code}");
        }
        for &reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(ErrorCode::parse("no_such_code"), None);
    }

    #[test]
    fn close_codes_are_the_protocols() {
        let again = CloseCode::ALL.iter().filter(|code| code.reconnect());
        assert_eq!(
            again.map(|code| code.number()).collect::<Vec<_>>(),
            [1001, 1011, 4408, 4429]
        );
    }
}
