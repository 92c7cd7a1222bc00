//! A stream (a live broadcast) and its settings.

use serde::{Deserialize, Serialize};

use crate::id::{StreamId, UserId};
use crate::time::Millis;

/// Whether a broadcast is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamStatus {
    /// On air: comments are taken.
    #[default]
    Live,
    /// Over: what was said can be read.
    Ended,
}

/// What is known of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Its id.
    pub stream_id: StreamId,
    /// Shown to viewers.
    pub title: String,
    /// Shown to viewers, may be empty.
    #[serde(default)]
    pub description: String,
    /// Its creator.
    pub broadcaster_id: UserId,
    /// Whether it is on.
    pub status: StreamStatus,
    /// When it was created.
    pub created_at_ms: Millis,
    /// Its modes.
    #[serde(default)]
    pub settings: Settings,
}

/// A stream's modes; the defaults let everybody with a token write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Seconds between two comments of one user; 0 is off.
    pub slow_mode_s: u32,
    /// Only followers may write.
    pub followers_only: bool,
    /// Only subscribers may write.
    pub subscribers_only: bool,
    /// Only emotes may be written.
    pub emote_only: bool,
    /// A text may be written once.
    pub unique_comments: bool,
    /// Whether comments are taken at all.
    pub comments_enabled: bool,
    /// Shield mode.
    pub shield: bool,
    /// How much the policy holds for a moderator, 0 to 4.
    pub hold_level: u8,
    /// Words that are refused.
    pub blocked_words: Vec<String>,
    /// Nothing is shown before a moderator's verdict.
    pub pre_moderation: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slow_mode_s: 0,
            followers_only: false,
            subscribers_only: false,
            emote_only: false,
            unique_comments: false,
            comments_enabled: true,
            shield: false,
            hold_level: 0,
            blocked_words: Vec::new(),
            pre_moderation: false,
        }
    }
}
