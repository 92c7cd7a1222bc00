//! Positions: an offset in each region's log, and the resume token that encodes a position.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::id::Region;

/// An offset in one region's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offset {
    /// The epoch of the log: the time of its creation, in milliseconds since 1970.
    pub epoch: u64,
    /// The last sequence read; 0 before the first.
    pub seq: u64,
}

/// The offset of a reader in each region's log; for a missing region it is the log's beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub BTreeMap<Region, Offset>);

impl Position {
    /// Regions in a token; one with more is invalid.
    pub const REGIONS_MAX: usize = 64;
    /// Bytes of a token; a longer one is invalid.
    pub const TOKEN_BYTES_MAX: usize = 4096;

    /// The offset in a region's log.
    #[must_use]
    pub fn get(&self, region: &Region) -> Option<Offset> {
        self.0.get(region).copied()
    }

    /// Advances to `to`. A lower sequence in the same epoch changes nothing; another epoch replaces the offset.
    pub fn advance(&mut self, region: &Region, to: Offset) {
        match self.0.get_mut(region) {
            Some(offset) if offset.epoch == to.epoch => offset.seq = offset.seq.max(to.seq),
            Some(offset) => *offset = to,
            None => {
                self.0.insert(region.clone(), to);
            }
        }
    }

    /// The opaque `resume` token: base64url over MessagePack.
    #[must_use]
    pub fn to_token(&self) -> String {
        let plain: Vec<(&Region, u64, u64)> = self
            .0
            .iter()
            .map(|(region, offset)| (region, offset.epoch, offset.seq))
            .collect();
        // Encoding strings and numbers into memory cannot fail.
        URL_SAFE_NO_PAD.encode(rmp_serde::to_vec(&plain).unwrap_or_default())
    }

    /// Decodes a token; `None` when it is invalid, which clients are told as `gap`.
    #[must_use]
    pub fn from_token(token: &str) -> Option<Self> {
        if token.len() > Self::TOKEN_BYTES_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let plain: Vec<(Region, u64, u64)> = rmp_serde::from_slice(&bytes).ok()?;
        if plain.len() > Self::REGIONS_MAX {
            return None;
        }
        Some(Self(
            plain
                .into_iter()
                .map(|(region, epoch, seq)| (region, Offset { epoch, seq }))
                .collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        name.parse().expect("a region")
    }

    #[test]
    fn a_token_brings_the_position_back() {
        let mut position = Position::default();
        position.advance(&region("eu"), Offset { epoch: 7, seq: 12 });
        position.advance(&region("us"), Offset { epoch: 9, seq: 1 });
        assert_eq!(Position::from_token(&position.to_token()), Some(position));
        assert_eq!(Position::from_token("not a token"), None);
    }

    #[test]
    fn advancing_never_goes_back_but_for_a_new_epoch() {
        let mut position = Position::default();
        position.advance(&region("eu"), Offset { epoch: 7, seq: 12 });
        position.advance(&region("eu"), Offset { epoch: 7, seq: 3 });
        assert_eq!(position.get(&region("eu")).map(|o| o.seq), Some(12));
        position.advance(&region("eu"), Offset { epoch: 8, seq: 3 });
        assert_eq!(position.get(&region("eu")).map(|o| o.seq), Some(3));
    }
}
