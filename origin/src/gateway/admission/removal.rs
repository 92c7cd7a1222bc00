//! Who may take a comment away: its author, and who moderates the stream.

use chorus_protocol::codes::Reason;
use chorus_protocol::event::AuthorRole;
use chorus_protocol::{CommentId, Outcome, StreamId, UserId};

use crate::history::History;
use crate::metrics::Metrics;

/// When to ask again while history cannot be read.
const RETRY_MS: u64 = 1_000;

/// A removal to be let in.
pub(in crate::gateway) struct Removal<'a> {
    pub(in crate::gateway) stream: &'a StreamId,
    pub(in crate::gateway) comment: CommentId,
    pub(in crate::gateway) by: &'a UserId,
    /// What that user is in the stream, as the PoP's session read it from the token.
    pub(in crate::gateway) role: AuthorRole,
}

impl Removal<'_> {
    /// `None`: it is let in. Else how it comes out.
    pub(in crate::gateway) async fn decide(
        &self,
        history: &History,
        metrics: &Metrics,
    ) -> Option<Outcome> {
        let refuse = |reason: Reason, retry_after_ms| {
            metrics.refuse(reason.as_str());
            Some(Outcome::refused(reason, retry_after_ms))
        };
        match history.author(self.stream, self.comment).await {
            Ok(None) => refuse(Reason::CommentNotFound, None),
            Ok(Some(author)) if author.user != self.by.as_str() && !self.role.moderates() => {
                refuse(Reason::Forbidden, None)
            }
            // It is done, and nobody is told again.
            Ok(Some(author)) => author.removed_by.map(|id| Outcome::Stored {
                id,
                duplicate: true,
            }),
            Err(error) => {
                tracing::debug!(%error, "whose comment is taken away cannot be looked up");
                refuse(Reason::Unavailable, Some(RETRY_MS))
            }
        }
    }
}
