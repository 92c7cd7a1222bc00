//! Many comments per second by many authors, and the outcome of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chorus_client::protocol::server::ReceiptStatus;
use chorus_client::protocol::{ClientId, CommentId, StreamId};
use chorus_client::{Options, Viewer};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::SOON;
use crate::dev::Dev;

/// Comments per second of one author, below a connection's limit.
const AUTHOR_RATE: u32 = 25;

/// A flood that runs until it is stopped.
pub struct Flood {
    authors: JoinSet<Result<Outcomes>>,
    stop: watch::Sender<bool>,
    durable: watch::Receiver<u64>,
}

/// The outcomes of the posts.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// Texts of posts answered `durable`, by comment id.
    pub durable: BTreeMap<CommentId, String>,
    /// Reasons of refused posts.
    pub rejected: BTreeMap<ClientId, String>,
    /// Codes of posts answered with an `error`.
    pub errors: BTreeMap<ClientId, String>,
    /// Posts without an answer when the flood ended.
    pub open: u64,
    /// Posts sent.
    pub posted: u64,
    /// Posts answered `durable` with two ids.
    pub torn: u64,
    /// How connections ended that ended during the flood.
    pub ended: Vec<String>,
}

impl Outcomes {
    fn add(&mut self, other: Self) {
        self.durable.extend(other.durable);
        self.rejected.extend(other.rejected);
        self.errors.extend(other.errors);
        self.open += other.open;
        self.posted += other.posted;
        self.torn += other.torn;
        self.ended.extend(other.ended);
    }
}

/// Makes the text of the post with this number.
pub type Content = Arc<dyn Fn(u64) -> String + Send + Sync>;

impl Flood {
    /// Starts to post `rate` comments per second by authors with the role `admin`, which has no rate limits.
    ///
    /// # Errors
    /// When an author cannot join.
    pub async fn start(dev: &Dev, stream: &StreamId, rate: u32, content: Content) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (count, durable) = watch::channel(0);
        let count = Arc::new(count);
        let authors_count = rate.div_ceil(AUTHOR_RATE);
        let mut authors = JoinSet::new();
        for index in 0..authors_count {
            let token = dev.token(&format!("flood-{index}"), "admin").await?;
            let author = Author {
                viewer: Viewer::connect(&dev.endpoint()?, stream, &Options::default().token(token))
                    .await?,
                every: Duration::from_secs(1) * authors_count / rate,
                first: u64::from(index),
                step: u64::from(authors_count),
                content: Arc::clone(&content),
                durable: Arc::clone(&count),
            };
            authors.spawn(author.run(stopped.clone()));
        }
        Ok(Self {
            authors,
            stop,
            durable,
        })
    }

    /// Waits until this many posts are durable.
    ///
    /// # Errors
    /// When they are not within the time.
    pub async fn reach(&mut self, durable: u64, within: Duration) -> Result<()> {
        let wait = self.durable.wait_for(|&count| count >= durable);
        let waited = tokio::time::timeout(within, wait)
            .await
            .map(|reached| reached.is_ok());
        match waited {
            Ok(true) => Ok(()),
            Ok(false) => bail!("all authors ended before {durable} were durable"),
            Err(_) => bail!(
                "{} of {durable} durable after {} s",
                self.durable(),
                within.as_secs()
            ),
        }
    }

    /// Number of durable posts so far.
    #[must_use]
    pub fn durable(&self) -> u64 {
        *self.durable.borrow()
    }

    /// Stops posting, waits for the pending posts and returns all outcomes.
    ///
    /// # Errors
    /// When an author failed.
    pub async fn finish(mut self) -> Result<Outcomes> {
        self.stop.send_replace(true);
        let mut all = Outcomes::default();
        while let Some(done) = self.authors.join_next().await {
            all.add(done.context("an author panicked")??);
        }
        Ok(all)
    }
}

struct Author {
    viewer: Viewer,
    every: Duration,
    first: u64,
    step: u64,
    content: Content,
    durable: Arc<watch::Sender<u64>>,
}

impl Author {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) -> Result<Outcomes> {
        let mut outcomes = Outcomes::default();
        let mut sent: BTreeMap<ClientId, String> = BTreeMap::new();
        self.viewer.join_and_wait(None, SOON).await?;
        let mut due = Instant::now();
        let mut number = self.first;
        while !*stopped.borrow() && self.viewer.closed.is_none() {
            let text = (self.content)(number);
            let Ok(client_id) = self.viewer.post(&text).await else {
                break;
            };
            sent.insert(client_id, text);
            outcomes.posted += 1;
            number += self.step;
            due += self.every;
            tokio::select! {
                () = self.viewer.watch_for(due.saturating_duration_since(Instant::now())) => {}
                _ = stopped.wait_for(|&stopped| stopped) => {}
            }
            self.collect(&mut sent, &mut outcomes);
        }
        // A PoP sends `unconfirmed` after 30 s at the latest.
        let deadline = Instant::now() + Duration::from_secs(40);
        while !sent.is_empty() && self.viewer.closed.is_none() && Instant::now() < deadline {
            self.viewer.watch_for(Duration::from_millis(20)).await;
            self.collect(&mut sent, &mut outcomes);
        }
        if let Some(close) = &self.viewer.closed {
            outcomes.ended.push(format!("{close:?}"));
        }
        outcomes.open = sent.len() as u64;
        Ok(outcomes)
    }

    /// Moves answered posts from `sent` to `outcomes`.
    fn collect(&mut self, sent: &mut BTreeMap<ClientId, String>, outcomes: &mut Outcomes) {
        for (client_id, receipts) in self.viewer.receipts.drain() {
            for receipt in receipts {
                match (receipt.status, receipt.comment_id) {
                    (ReceiptStatus::Durable, Some(id)) => match sent.remove(&client_id) {
                        Some(text) => {
                            outcomes.durable.insert(id, text);
                            self.durable.send_modify(|count| *count += 1);
                        }
                        None if !outcomes.durable.contains_key(&id) => outcomes.torn += 1,
                        None => {}
                    },
                    (ReceiptStatus::Rejected, _) => {
                        sent.remove(&client_id);
                        let reason = receipt.reason.unwrap_or_default();
                        outcomes.rejected.insert(client_id.clone(), reason);
                    }
                    _ => {}
                }
            }
        }
        for error in self.viewer.errors.drain(..) {
            if let Some(client_id) = error.client_id.and_then(|key| ClientId::new(&key).ok()) {
                sent.remove(&client_id);
                outcomes.errors.insert(client_id, error.code);
            }
        }
    }
}
