//! The named bounds of the clients' protocol, with their defaults.
//!
//! Each may be configured; what happens at a bound stands beside it.

use serde::{Deserialize, Serialize};

/// What a session holds its viewers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a client's message, inflated; a longer one closes with 1009 (the host checks it). A comment of
    /// `content_chars_max` scalar values fits in any form: 12 bytes for each as `\\u` escapes in JSON, and less than 2 KB for
    /// the rest.
    pub message_bytes_max: u32,
    /// Unicode scalar values of a comment after trimming; a longer one is `rejected: too_long`.
    pub content_chars_max: u32,
    /// From opening to the first join or `authenticate`, in milliseconds; then closed with 4403.
    pub first_message_ms_max: u64,
    /// Streams joined by one connection; one more gets `error too_many_streams`.
    pub streams_per_connection_max: u32,
    /// Messages a second a connection may send on average; beyond the burst, closed with 4429.
    pub messages_per_s: u32,
    /// Messages a connection may send at once.
    pub messages_burst: u32,
    /// Comments a minute of one user (a bucket's refill), else `rejected: rate_limited`.
    pub comments_per_minute: u32,
    /// Comments of one user in one stream in 30 s, else `rejected: rate_limited`.
    pub comments_per_stream_30s: u32,
    /// Reactions a minute of one user, else `error rate_limited`.
    pub reactions_per_minute: u32,
    /// The largest `count` of a `react`.
    pub reaction_count_max: u32,
    /// Newest comments given to who joins.
    pub newest_max: u32,
    /// Comments in `joined` after a resume; the rest follows as `comments_batch`.
    pub resume_first_max: u32,
    /// Comments a resume may replay; beyond, `gap` and the newest.
    pub resume_max: u32,
    /// Comments per stream a shard keeps to answer a resume by itself.
    pub recent_max: u32,
    /// Milliseconds that an unanswered post stays known before `error unconfirmed`.
    pub unconfirmed_ms: u64,
    /// Posts of a shard waiting for the log; one more is `rejected: unavailable`.
    pub posts_waiting_max: u32,
    /// Remembered (user, `client_id`) outcomes per shard; the oldest goes.
    pub remembered_posts_max: u32,
    /// Users whose buckets a shard remembers; the fullest bucket goes.
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

/// How comments are grouped into frames: the window grows with the load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batching {
    /// The longest window of a stream under load, in milliseconds; 0 switches batching off.
    pub window_ms_max: u64,
    /// The longest window while the PoP is hot, in milliseconds.
    pub window_hot_ms_max: u64,
    /// Sends a second of one shard (frames × members; each further 8 KiB of a frame count as one more) from which it
    /// counts as hot.
    pub hot_sends_per_s: u64,
    /// Comments in one frame at the most; a full frame goes at once.
    pub comments_max: u32,
    /// How often reaction totals go out, in milliseconds.
    pub reactions_ms: u64,
    /// How often viewer counts go out, in milliseconds.
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
