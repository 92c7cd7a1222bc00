//! The record: what stores must do, a trait for each purpose, and the choice of one by its URL.
//!
//! The log is the buffer: `persist` acknowledges a batch only after [`Comments::write`] returned, and reads again from
//! the log what the store does not have. So a store may lose its last commits with the machine's power, as long as it
//! does not lose rows before the position that says they are there.

mod comments;
#[doc(hidden)]
pub mod memory;
mod sqlite;
mod streams;

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use comments::{
    Author, Batch, Comments, Count, Page, Positions, Row, Slice, Written, position_key,
};
pub use streams::{StreamPage, StreamRow, Streams};

use self::sqlite::Sqlite;
use crate::config;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its URL names no store of ours, or cannot be read; with the configuration's key.
    #[error("{0}")]
    Url(String),
    /// It was written by a newer version.
    #[error("the store has schema {found}, this version knows {known}")]
    Schema {
        /// The store's.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// Another process has written since: the position is not the one expected.
    #[error("the store's position was moved by another writer")]
    Fenced,
    /// It failed; trying again may help.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// What the store answers with.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The stores of a process; where one URL names several, they are one.
#[derive(Clone)]
pub struct Stores {
    /// Comments and what was decided about them.
    pub comments: Arc<dyn Comments>,
    /// How streams stand.
    pub streams: Arc<dyn Streams>,
}

impl Stores {
    /// Opens the stores that a configuration names.
    ///
    /// # Errors
    /// When a scheme is not known, or a store cannot be opened.
    pub async fn open(config: &config::Store) -> Result<Self, StoreError> {
        let (comments, streams) = (config.comments(), config.streams());
        let store = Arc::new(open(&comments).await?);
        let other = if streams.url == comments.url {
            Arc::clone(&store)
        } else {
            Arc::new(open(&streams).await?)
        };
        Ok(Self {
            comments: store,
            streams: other,
        })
    }
}

/// The directory of this machine that the store of a URL is in; `None` for one that is elsewhere.
#[must_use]
pub fn directory(url: &str) -> Option<&Path> {
    Path::new(url.strip_prefix("sqlite://")?).parent()
}

async fn open(of: &config::StoreUrl<'_>) -> Result<Sqlite, StoreError> {
    let config::StoreUrl { key, url } = of;
    match url.split_once("://") {
        Some(("sqlite", path)) if Path::new(path).is_absolute() => {
            let path = path.to_owned();
            // A migration may take long.
            let opened = tokio::task::spawn_blocking(move || Sqlite::open(Path::new(&path)));
            opened.await.map_err(failed)?
        }
        Some(("sqlite", _)) => Err(StoreError::Url(format!(
            "{key}: sqlite:// needs an absolute path: sqlite:///var/lib/chorus/chorus.db"
        ))),
        Some((scheme, _)) => Err(StoreError::Url(format!(
            "{key}: no store is called `{scheme}`; known is: sqlite"
        ))),
        None => Err(StoreError::Url(format!(
            "{key}: `{url}` is not a store's URL"
        ))),
    }
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}
