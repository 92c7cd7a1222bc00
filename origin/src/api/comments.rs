//! Comments, threads and totals of a stream.

use chorus_protocol::backhaul::RestResponse;
use chorus_protocol::server::Reactions;
use chorus_protocol::{Comment, CommentId, StreamId};
use serde::Serialize;

use super::Api;
use super::problem::{self, Problem};
use super::route::Query;
use crate::history::{HistoryError, Part};
use crate::store::Page;

const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;

/// A page of comments.
///
/// Newest first. `next` goes on: as `before`, or as `after` when only `after` was given (then the page holds the ones
/// nearest to it, so that a reader moves forward without a hole). Null at the end, and always with `sort=top`.
#[derive(Serialize)]
struct CommentsPage {
    comments: Vec<Comment>,
    next: Option<CommentId>,
}

impl Api {
    pub(super) async fn comments(
        &self,
        stream: &StreamId,
        query: &Query,
        parent: Option<CommentId>,
    ) -> Result<RestResponse, Problem> {
        let limit = query.limit(LIMIT, LIMIT_MAX)?;
        let top = match query.get("sort")? {
            None | Some("newest") => false,
            Some("top") => true,
            Some(_) => return Err(Problem::invalid("`sort` is newest or top")),
        };
        let before = query.value("before")?;
        let after = query.value("after")?;
        self.find(stream).await?;
        let forward = after.is_some() && before.is_none() && !top;
        let page = Page {
            before,
            after,
            oldest_first: forward,
            top,
            parent,
            // One more tells whether there is a next page.
            limit: limit + 1,
        };
        let part = self.read_history(stream, page).await?;
        let more = part.comments.len() > limit;
        let mut comments = part.shown();
        comments.truncate(limit);
        let last = part.comments.get(limit.wrapping_sub(1)).map(|(id, _)| *id);
        let next = last.filter(|_| more && !top);
        if forward {
            comments.reverse();
        }
        problem::json(200, &CommentsPage { comments, next })
    }

    pub(super) async fn reactions(&self, stream: &StreamId) -> Result<RestResponse, Problem> {
        #[derive(Serialize)]
        struct Totals {
            counts: Reactions,
        }
        self.find(stream).await?;
        let mut counts = Reactions::new();
        for totals in self.log.all_reaction_totals(stream).await?.into_values() {
            for (kind, total) in totals {
                let sum = counts.entry(kind).or_default();
                *sum = sum.saturating_add(total);
            }
        }
        problem::json(200, &Totals { counts })
    }

    pub(super) async fn stream_metrics(&self, stream: &StreamId) -> Result<RestResponse, Problem> {
        #[derive(Serialize)]
        struct Counts {
            viewer_count: u64,
            comment_count: u64,
        }
        self.find(stream).await?;
        let part = self.read_history(stream, Page::default()).await?;
        let counts = Counts {
            viewer_count: self.viewers.of(stream),
            comment_count: part.comment_count,
        };
        problem::json(200, &counts)
    }

    async fn read_history(&self, stream: &StreamId, page: Page) -> Result<Part, Problem> {
        self.history
            .read(stream, page)
            .await
            .map_err(|error| match error {
                HistoryError::Log(error) => error.into(),
                HistoryError::Store(error) => error.into(),
                HistoryError::Behind => Problem::unavailable("the store is too far behind the log"),
            })
    }
}
