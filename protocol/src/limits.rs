//! The configurable limits of the clients' protocol, with their defaults and what happens at each.

use serde::{Deserialize, Serialize};

/// The limits that a session enforces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a client's message after inflating; a longer one is closed with 1009 (checked by the host). A comment of
    /// `content_chars_max` scalar values must fit in any encoding: up to 12 bytes each as `\\u` escapes in JSON, and less than
    /// 2 KB for the other fields.
    pub message_bytes_max: u32,
    /// Unicode scalar values of a comment after cleaning; a longer one is `rejected: too_long`.
    pub content_chars_max: u32,
    /// Milliseconds from opening a connection to the first join or `authenticate`; after them closed with 4403.
    pub first_message_ms_max: u64,
    /// Streams joined by one connection; a further join gets `error too_many_streams`.
    pub streams_per_connection_max: u32,
    /// Messages per second that a connection may send on average; beyond the burst it is closed with 4429.
    pub messages_per_s: u32,
    /// Messages that a connection may send at once.
    pub messages_burst: u32,
    /// Comments of one user in any minute; more are `rejected: rate_limited`.
    pub comments_per_minute: u32,
    /// Comments of one user in one stream in any 30 s; more are `rejected: rate_limited`.
    pub comments_per_stream_30s: u32,
    /// Reactions of one user in any minute (a `react` counts as its `count`); more get `error rate_limited`.
    pub reactions_per_minute: u32,
    /// The largest `count` of a `react`.
    pub reaction_count_max: u32,
    /// Newest comments in the answer to a join.
    pub newest_max: u32,
    /// Comments in `joined` after a resume; the remaining ones follow as `comments_batch`.
    pub resume_first_max: u32,
    /// Comments that a resume replays; if there are more, it gets `gap` and the newest comments.
    pub resume_max: u32,
    /// Comments of each stream that a shard keeps, to answer a resume without the gateway.
    pub recent_max: u32,
    /// Milliseconds that a post is pending without an answer; after them it gets `error unconfirmed`.
    pub unconfirmed_ms: u64,
    /// Pending posts of a shard; a further one is `rejected: unavailable`.
    pub posts_waiting_max: u32,
    /// Outcomes of posts that a shard remembers by user and `client_id`; then the oldest is forgotten.
    pub remembered_posts_max: u32,
    /// Users whose uses of the limits a shard remembers; then the user whose uses end soonest is forgotten.
    pub remembered_users_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 8_192,
            content_chars_max: 500,
            first_message_ms_max: 5_000,
            streams_per_connection_max: 32,
            messages_per_s: 50,
            messages_burst: 200,
            comments_per_minute: 30,
            comments_per_stream_30s: 5,
            reactions_per_minute: 100,
            reaction_count_max: 20,
            newest_max: 50,
            resume_first_max: 200,
            resume_max: 10_000,
            recent_max: 500,
            unconfirmed_ms: 30_000,
            posts_waiting_max: 20_000,
            remembered_posts_max: 50_000,
            remembered_users_max: 50_000,
        }
    }
}

/// How a session batches comments into frames; the batching window grows with the load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batching {
    /// The longest batching window of a stream under load, in milliseconds; 0 switches batching off.
    pub window_ms_max: u64,
    /// The longest batching window while the PoP is hot, in milliseconds.
    pub window_hot_ms_max: u64,
    /// Sends per second of one shard from which it counts as hot: frames × members, each further 8 KiB of a frame counted as
    /// one more.
    pub hot_sends_per_s: u64,
    /// Comments in one frame, at most; a full frame is sent at once.
    pub comments_max: u32,
    /// Interval at which reaction totals are sent, in milliseconds.
    pub reactions_ms: u64,
    /// Interval at which viewer counts are sent, in milliseconds.
    pub viewers_ms: u64,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            window_ms_max: 100,
            window_hot_ms_max: 500,
            hot_sends_per_s: 100_000,
            comments_max: 500,
            reactions_ms: 500,
            viewers_ms: 2_000,
        }
    }
}
