//! How a publication came out: one type from the gateway to the session component.

use serde::{Deserialize, Serialize};

use crate::codes::Reason;
use crate::id::CommentId;

/// How a publication came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A quorum of the region's log holds it.
    Stored {
        /// The id it is known by: the first one's when this was a repeat.
        id: CommentId,
        /// It was there before.
        duplicate: bool,
    },
    /// It is certainly not stored.
    Refused {
        /// The name of a [`Reason`], or one of a later version.
        reason: String,
        /// When trying again makes sense, from now on.
        retry_after_ms: Option<u64>,
    },
    /// Nobody answered: it may be stored or not. A PoP sends again under the same key until the post's time is over; only
    /// then a session hears this.
    Unknown,
}

impl Outcome {
    /// Refused for a reason of ours.
    #[must_use]
    pub fn refused(reason: Reason, retry_after_ms: Option<u64>) -> Self {
        Self::Refused {
            reason: reason.as_str().to_owned(),
            retry_after_ms,
        }
    }

    /// Whether it was refused for this reason.
    #[must_use]
    pub fn is_refused_for(&self, why: Reason) -> bool {
        matches!(self, Self::Refused { reason, .. } if reason == why.as_str())
    }
}
