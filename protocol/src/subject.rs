//! Names of subjects, logs and headers in NATS.

use crate::id::{Region, StreamId};

/// A region's comment log: `COMMENTS_<region>`.
#[must_use]
pub fn comments_log(region: &Region) -> String {
    format!("COMMENTS_{region}")
}

/// A region's control log: `CONTROL_<region>`.
#[must_use]
pub fn control_log(region: &Region) -> String {
    format!("CONTROL_{region}")
}

/// A region's counter log of reactions: `REACTIONS_<region>`.
#[must_use]
pub fn reactions_log(region: &Region) -> String {
    format!("REACTIONS_{region}")
}

/// Where a comment is written: `comment.<region>.<stream>`.
#[must_use]
pub fn comment(region: &Region, stream: &StreamId) -> String {
    format!("comment.{region}.{stream}")
}

/// Where a stream's life is written: `control.<region>.<stream>.stream`.
#[must_use]
pub fn stream_life(region: &Region, stream: &StreamId) -> String {
    format!("control.{region}.{stream}.stream")
}

/// Where a reaction's total is counted: `reaction.<region>.<stream>.<type>`.
#[must_use]
pub fn reaction(region: &Region, stream: &StreamId, reaction_type: &str) -> String {
    format!("reaction.{region}.{stream}.{reaction_type}")
}

/// Where a log repeats what it has stored: `live.` and the subject.
#[must_use]
pub fn live(subject: &str) -> String {
    format!("live.{subject}")
}

/// Where a PoP's viewers of a stream are counted: `presence.<region>.<pop>.<stream>`.
#[must_use]
pub fn presence(region: &Region, pop: &str, stream: &StreamId) -> String {
    format!("presence.{region}.{pop}.{stream}")
}

/// Where a region's `api` role answers: `api.<region>`.
#[must_use]
pub fn api(region: &Region) -> String {
    format!("api.{region}")
}

/// A reaction type or emote that may stand in a subject: `[a-z0-9_]{1,32}`.
#[must_use]
pub fn is_reaction_type(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
