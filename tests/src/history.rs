//! A stream's history over REST, page by page.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use chorus_client::Rest;
use chorus_client::protocol::{Comment, CommentId, StreamId};

/// Reads the whole history, by comment id.
///
/// # Errors
/// When a page is refused, a comment is repeated, or a page is not ordered newest first.
pub async fn whole(rest: &Rest, stream: &StreamId) -> Result<BTreeMap<CommentId, Comment>> {
    let mut all = BTreeMap::new();
    let mut before = None;
    loop {
        let cursor = before.map_or(String::new(), |id: CommentId| format!("&before={id}"));
        let target = format!("/api/streams/{stream}/comments?limit=200{cursor}");
        let response = rest.get(&target).await?;
        if response.status != 200 {
            bail!("{target}: {} {}", response.status, response.text());
        }
        let page = response.json()?;
        let comments: Vec<Comment> = serde_json::from_value(page["comments"].clone())
            .with_context(|| format!("{target}: not comments"))?;
        if !comments.is_sorted_by(|a, b| a.id > b.id) {
            bail!("{target}: not newest first, or one twice");
        }
        let Some(oldest) = comments.last() else {
            return Ok(all);
        };
        before = Some(oldest.id);
        for comment in comments {
            let id = comment.id;
            if all.insert(id, comment).is_some() {
                bail!("{id} is on two pages");
            }
        }
    }
}
