//! One person at one stream: what was shown, what became of the own posts, and where to go on.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH};

use chorus_protocol::client::{ClientMessage, React};
use chorus_protocol::server::{Joined, Reactions, Receipt, ReceiptStatus, Refusal, ServerMessage};
use chorus_protocol::{ClientId, Comment, CommentId, StreamId};
use tokio::time::Instant;

use crate::client::{Client, Close, Event, Options};
use crate::endpoint::Endpoint;
use crate::error::{ConnectError, SendError, WaitError};

/// Removed ids that a viewer remembers; at the bound the oldest comment's is forgotten.
const REMOVED_MAX: usize = 10_000;

/// What a viewer was shown.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By id, so oldest first.
    pub comments: BTreeMap<CommentId, Comment>,
    /// Comments taken away, with the reason where `comments_removed` told it: they are not shown again.
    pub removed: BTreeMap<CommentId, Option<String>>,
    /// Comments that `comments_removed` named once more.
    pub removed_again: u64,
    /// Comments shown once more while the connection stood.
    pub repeats: u64,
    /// How often a comment was told to be shown otherwise.
    pub updates: u64,
    /// Batches that were not sorted by id within themselves.
    pub unsorted: u64,
    /// When each came, for measuring.
    pub at: HashMap<CommentId, Clock>,
}

impl Seen {
    /// Those of `expected` that were not shown.
    #[must_use]
    pub fn missing<'a>(&self, expected: impl IntoIterator<Item = &'a CommentId>) -> Vec<CommentId> {
        expected
            .into_iter()
            .copied()
            .filter(|id| !self.comments.contains_key(id))
            .collect()
    }

    fn take(&mut self, comments: &[Comment], first: bool) {
        let now = Clock::now();
        if !comments.is_sorted_by_key(|comment| comment.id) {
            self.unsorted += 1;
        }
        for comment in comments {
            if self.removed.contains_key(&comment.id) {
                continue;
            }
            let before = self.comments.insert(comment.id, comment.clone());
            if before.is_none() {
                self.at.insert(comment.id, now);
            } else if !first {
                // The newest in `joined` may repeat what an earlier connection showed; a batch may not.
                self.repeats += 1;
            }
        }
    }

    fn remove(&mut self, ids: Vec<CommentId>, reason: Option<&str>) {
        for id in ids {
            self.comments.remove(&id);
            match self.removed.entry(id) {
                Entry::Vacant(new) => {
                    new.insert(reason.map(str::to_owned));
                }
                Entry::Occupied(_) => self.removed_again += u64::from(reason.is_some()),
            }
            if self.removed.len() > REMOVED_MAX {
                self.removed.pop_first();
            }
        }
    }
}

fn key_prefix() -> String {
    static VIEWERS: AtomicU64 = AtomicU64::new(0);
    let viewer = VIEWERS.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}-{:x}-{viewer:x}", now.as_micros(), std::process::id())
}

/// One person at one stream.
pub struct Viewer {
    client: Client,
    stream: StreamId,
    /// Begins the keys of what this viewer writes: another process or viewer of the same user must not repeat them.
    keys: String,
    keys_used: u64,
    /// What was shown, over all connections of this viewer.
    pub seen: Seen,
    /// Receipts of the own posts and removals, in the order they came.
    pub receipts: HashMap<ClientId, Vec<Receipt>>,
    /// Errors told.
    pub errors: Vec<Refusal>,
    /// The last answer to a join; its title, status and settings are kept as they are now.
    pub joined: Option<Joined>,
    /// Running totals.
    pub reactions: Reactions,
    /// How often totals came.
    pub reaction_updates: u64,
    /// How many watch.
    pub viewer_count: u64,
    /// Where to go on.
    pub resume: Option<String>,
    /// What `pong` carried.
    pub pongs: Vec<serde_json::Value>,
    /// Messages that could not be read.
    pub unreadable: Vec<String>,
    /// How the connection ended, once it has.
    pub closed: Option<Close>,
}

impl Viewer {
    /// Connects without joining.
    ///
    /// # Errors
    /// When the connection or the upgrade fails.
    pub async fn connect(
        endpoint: &Endpoint,
        stream: &StreamId,
        options: &Options,
    ) -> Result<Self, ConnectError> {
        Ok(Self {
            client: Client::connect_to(endpoint, options).await?,
            stream: stream.clone(),
            keys: key_prefix(),
            keys_used: 0,
            seen: Seen::default(),
            receipts: HashMap::new(),
            errors: Vec::new(),
            joined: None,
            reactions: Reactions::new(),
            reaction_updates: 0,
            viewer_count: 0,
            resume: None,
            pongs: Vec::new(),
            unreadable: Vec::new(),
            closed: None,
        })
    }

    /// Connects again, keeping what was seen, and joins from where this viewer was.
    ///
    /// # Errors
    /// When the connection or the upgrade fails, or it ends at once.
    pub async fn reconnect(
        &mut self,
        endpoint: &Endpoint,
        options: &Options,
    ) -> Result<(), ConnectError> {
        self.client = Client::connect_to(endpoint, options).await?;
        self.closed = None;
        self.joined = None;
        let resume = self.resume.clone();
        self.join(resume.as_deref())
            .await
            .map_err(|error| ConnectError::Upgrade(error.to_string()))
    }

    /// The connection itself.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The stream watched.
    #[must_use]
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Asks to watch.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn join(&mut self, resume: Option<&str>) -> Result<(), SendError> {
        self.client.join(&self.stream.clone(), resume).await
    }

    /// Asks to watch and waits for the answer.
    ///
    /// # Errors
    /// When the answer does not come in time.
    pub async fn join_and_wait(
        &mut self,
        resume: Option<&str>,
        within: Duration,
    ) -> Result<&Joined, WaitError> {
        self.joined = None;
        // A connection that is gone shows in the wait, with its close code.
        let _sent = self.join(resume).await;
        self.wait("joined", within, |viewer| viewer.joined.is_some())
            .await?;
        match &self.joined {
            Some(joined) => Ok(joined),
            None => Err(WaitError::Closed {
                what: "joined".to_owned(),
                close: Close::Broken("no answer".to_owned()),
            }),
        }
    }

    /// Writes a comment under a key of its own and gives the key.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn post(&mut self, content: &str) -> Result<ClientId, SendError> {
        let client_id = self.next_key()?;
        self.client
            .post(&self.stream.clone(), &client_id, content)
            .await?;
        Ok(client_id)
    }

    /// Takes a comment away under a key of its own and gives the key.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn delete(&mut self, comment: CommentId) -> Result<ClientId, SendError> {
        let client_id = self.next_key()?;
        self.client
            .delete(&self.stream.clone(), comment, Some(&client_id))
            .await?;
        Ok(client_id)
    }

    /// Decides about a comment as a moderator, and gives the key under which its receipt comes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn moderate(
        &mut self,
        action: &str,
        comment: CommentId,
    ) -> Result<ClientId, SendError> {
        let client_id = self.next_key()?;
        let message = ClientMessage::Moderate {
            stream_id: self.stream.clone(),
            client_id: client_id.clone(),
            action: action.to_owned(),
            comment_id: Some(comment),
        };
        self.client.send(&message).await?;
        Ok(client_id)
    }

    fn next_key(&mut self) -> Result<ClientId, SendError> {
        self.keys_used += 1;
        let key = format!("{}-{}", self.keys, self.keys_used);
        ClientId::new(&key).map_err(|error| SendError::Encode(error.to_string()))
    }

    /// Writes a comment and waits until the log holds it.
    ///
    /// # Errors
    /// When that is not told in time.
    pub async fn post_durable(
        &mut self,
        content: &str,
        within: Duration,
    ) -> Result<CommentId, WaitError> {
        let what = || format!("`durable` for {content:?}");
        let client_id = self
            .post(content)
            .await
            .map_err(|error| WaitError::Closed {
                what: what(),
                close: Close::Broken(error.to_string()),
            })?;
        self.wait(&what(), within, |viewer| {
            viewer.durable(&client_id).is_some()
        })
        .await?;
        self.durable(&client_id).ok_or_else(|| WaitError::Closed {
            what: what(),
            close: Close::Broken("no receipt".to_owned()),
        })
    }

    /// Reacts to the stream.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn react(&mut self, reaction_type: &str, count: u32) -> Result<(), SendError> {
        self.client
            .send(&ClientMessage::React(React {
                stream_id: self.stream.clone(),
                reaction_type: reaction_type.to_owned(),
                comment_id: None,
                count: Some(count),
            }))
            .await
    }

    /// The id of a post that is `durable`.
    #[must_use]
    pub fn durable(&self, client_id: &ClientId) -> Option<CommentId> {
        self.receipt(client_id, ReceiptStatus::Durable)
            .and_then(|receipt| receipt.comment_id)
    }

    /// The receipt of a post with this status.
    #[must_use]
    pub fn receipt(&self, client_id: &ClientId, status: ReceiptStatus) -> Option<&Receipt> {
        self.receipts
            .get(client_id)?
            .iter()
            .find(|receipt| receipt.status == status)
    }

    /// Takes in what comes until `done`, at the longest `within`.
    ///
    /// # Errors
    /// When the time is over or the connection ends first.
    pub async fn wait(
        &mut self,
        what: &str,
        within: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<(), WaitError> {
        let deadline = Instant::now() + within;
        while !done(self) {
            match self.client.next_until(deadline).await {
                Some(Event::Closed(close)) => {
                    self.closed = Some(close.clone());
                    if done(self) {
                        return Ok(());
                    }
                    return Err(WaitError::Closed {
                        what: what.to_owned(),
                        close,
                    });
                }
                Some(event) => self.take(event),
                None => {
                    return Err(WaitError::TimedOut {
                        what: what.to_owned(),
                        within_ms: within.as_millis(),
                        state: self.state(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Takes in what comes within a time; an end of the connection is kept in `closed`.
    pub async fn watch_for(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Some(event) = self.client.next_until(deadline).await {
            if let Event::Closed(close) = event {
                self.closed = Some(close);
                return;
            }
            self.take(event);
        }
    }

    /// Takes in what comes until the connection ends, and says how it did.
    ///
    /// # Errors
    /// When it goes on for longer than `within`.
    pub async fn wait_closed(&mut self, within: Duration) -> Result<Close, WaitError> {
        self.watch_for(within).await;
        self.closed.clone().ok_or_else(|| WaitError::TimedOut {
            what: "the end of the connection".to_owned(),
            within_ms: within.as_millis(),
            state: self.state(),
        })
    }

    /// Takes in one event.
    pub fn take(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.take_message(*message),
            Event::Unreadable(reason) => self.unreadable.push(reason),
            Event::Closed(close) => self.closed = Some(close),
        }
    }

    fn take_message(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Joined(joined) if joined.stream_id == self.stream => {
                self.seen.remove(joined.removed.clone(), None);
                self.seen.take(&joined.comments, true);
                self.reactions = joined.reactions.clone();
                self.viewer_count = joined.viewer_count;
                self.resume = Some(joined.resume.clone());
                self.joined = Some(*joined);
            }
            ServerMessage::CommentsBatch {
                stream_id,
                comments,
                resume,
            } if stream_id == self.stream => {
                self.seen.take(&comments, false);
                self.resume = Some(resume);
            }
            ServerMessage::CommentsRemoved {
                stream_id,
                comment_ids,
                reason,
            } if stream_id == self.stream => self.seen.remove(comment_ids, Some(&reason)),
            ServerMessage::CommentUpdated {
                stream_id,
                comment_id,
                update,
            } if stream_id == self.stream => {
                self.seen.updates += 1;
                if let Some(comment) = self.seen.comments.get_mut(&comment_id) {
                    update.apply(comment);
                }
            }
            ServerMessage::ReactionsBatch {
                stream_id, counts, ..
            } if stream_id == self.stream => {
                self.reactions.extend(counts);
                self.reaction_updates += 1;
            }
            ServerMessage::StreamUpdated {
                stream_id,
                settings,
                status,
                title,
            } if stream_id == self.stream => {
                if let Some(joined) = &mut self.joined {
                    joined.settings = settings.unwrap_or_else(|| joined.settings.clone());
                    joined.status = status.unwrap_or(joined.status);
                    joined.title = title.unwrap_or_else(|| joined.title.clone());
                }
            }
            ServerMessage::ViewerCount { stream_id, count } if stream_id == self.stream => {
                self.viewer_count = count;
            }
            ServerMessage::Receipt(receipt) => {
                if let Ok(client_id) = ClientId::new(&receipt.client_id) {
                    self.receipts.entry(client_id).or_default().push(receipt);
                }
            }
            ServerMessage::Error(refusal) => self.errors.push(refusal),
            ServerMessage::Pong(payload) => self.pongs.push(payload),
            ServerMessage::Joined(_)
            | ServerMessage::CommentsBatch { .. }
            | ServerMessage::CommentsRemoved { .. }
            | ServerMessage::CommentUpdated { .. }
            | ServerMessage::ReactionsBatch { .. }
            | ServerMessage::ViewerCount { .. }
            | ServerMessage::StreamUpdated { .. }
            | ServerMessage::Notice { .. }
            | ServerMessage::Mention { .. } => {}
        }
    }

    /// A line for people: how this viewer stands.
    #[must_use]
    pub fn state(&self) -> String {
        format!(
            "seen {} comments, {} repeats, receipts for {} posts, errors {:?}, closed {:?}",
            self.seen.comments.len(),
            self.seen.repeats,
            self.receipts.len(),
            self.errors
                .iter()
                .map(|error| error.code.as_str())
                .collect::<Vec<_>>(),
            self.closed
        )
    }
}
