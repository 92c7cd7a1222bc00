//! A stream (a live broadcast) and its settings.

use serde::{Deserialize, Serialize};

use crate::id::{Region, StreamId, UserId};
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
    /// A status of a later version: comments are not taken.
    #[serde(other)]
    Unknown,
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
    /// The one region whose log takes its events; `None`, the nearest one's of whoever posts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_region: Option<Region>,
}

/// How a stream stands, as the control log says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// All that is known of it.
    pub info: StreamInfo,
    /// The sequence of this word in the control log of the stream's region.
    pub seq: u64,
}

/// Which of a stream's lives is the newer one: a stream created later first (a log that was made anew counts from 1
/// again), then the later word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision {
    /// When the stream was created.
    pub created_at_ms: Millis,
    /// The place in the control log.
    pub seq: u64,
}

impl Life {
    /// Which one it is: an older one never replaces a newer one.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision {
            created_at_ms: self.info.created_at_ms,
            seq: self.seq,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_a_later_version_is_read_and_takes_no_comments() {
        let read = |text: &str| serde_json::from_str::<StreamStatus>(text).expect("reads");
        assert_eq!(read("\"live\""), StreamStatus::Live);
        assert_eq!(read("\"ended\""), StreamStatus::Ended);
        assert_eq!(read("\"scheduled\""), StreamStatus::Unknown);
        let packed = rmp_serde::to_vec_named("scheduled").expect("writes");
        let read: StreamStatus = rmp_serde::from_slice(&packed).expect("reads");
        assert_eq!(read, StreamStatus::Unknown);
    }

    #[test]
    fn a_stream_created_anew_is_newer_whatever_its_sequence() {
        let revision = |created, seq| Revision {
            created_at_ms: Millis(created),
            seq,
        };
        assert!(revision(5, 2) > revision(5, 1));
        assert!(revision(6, 1) > revision(5, 900), "the log was made anew");
    }
}
