//! The outcome of a publication: the same type from the gateway to the session component.

use serde::{Deserialize, Serialize};

use crate::codes::Reason;
use crate::id::CommentId;

/// The outcome of a publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A quorum of the region's log has stored it.
    Stored {
        /// The id of the stored event: that of the first publication if this one was a repeat.
        id: CommentId,
        /// It was stored before, by an earlier publication with the same key.
        duplicate: bool,
    },
    /// It is certainly not stored.
    Refused {
        /// The name of a [`Reason`], or of a reason of a later version.
        reason: String,
        /// Milliseconds from now until it makes sense to try again.
        retry_after_ms: Option<u64>,
    },
    /// No answer came: it may be stored or not. A PoP publishes it again under the same key until the post's timeout; only
    /// after that the session gets this outcome.
    Unknown,
}

impl Outcome {
    /// A refusal for this reason.
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
