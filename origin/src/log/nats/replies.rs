//! Requests that are answered by many messages, over one shared inbox.
//!
//! A subscription per request would cost two round trips of bookkeeping each; here a token in the reply subject
//! finds the one who asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Message;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use crate::lock::lock;
use crate::log::LogError;

/// Messages of one answer waiting for the one who asked. The server sends at most a batch's worth.
const ANSWER_MESSAGES_MAX: usize = 4_096;
/// From one message of an answer to the next.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

type Waiting = Arc<Mutex<HashMap<u64, mpsc::Sender<Message>>>>;

pub(super) struct Replies {
    client: async_nats::Client,
    prefix: String,
    next: AtomicU64,
    waiting: Waiting,
}

impl Replies {
    pub(super) async fn start(client: &async_nats::Client) -> Result<Self, LogError> {
        let prefix = client.new_inbox();
        let mut inbox = client
            .subscribe(format!("{prefix}.*"))
            .await
            .map_err(LogError::away)?;
        let waiting = Waiting::default();
        let routes = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(message) = inbox.next().await {
                let Some(token) = token(&message.subject) else {
                    continue;
                };
                let route = lock(&routes).get(&token).cloned();
                if let Some(route) = route {
                    // A full route ends its request by time-out; others are not held up.
                    let _ = route.try_send(message);
                }
            }
        });
        Ok(Self {
            client: client.clone(),
            prefix,
            next: AtomicU64::new(0),
            waiting,
        })
    }

    /// Sends a request and opens its answer.
    pub(super) async fn ask(&self, subject: String, payload: Bytes) -> Result<Answer, LogError> {
        let (inbox, answer) = self.open();
        let sent = self.client.publish_with_reply(subject, inbox, payload);
        in_time(sent).await?;
        Ok(answer)
    }

    /// Sends a message to itself and waits for it: the server has seen all that was sent before.
    pub(super) async fn round_trip(&self) -> Result<(), LogError> {
        let (inbox, mut answer) = self.open();
        in_time(self.client.publish(inbox, Bytes::new())).await?;
        answer.next().await.map(|_| ())
    }

    fn open(&self) -> (String, Answer) {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(ANSWER_MESSAGES_MAX);
        lock(&self.waiting).insert(token, sender);
        let answer = Answer {
            token,
            receiver,
            waiting: Arc::clone(&self.waiting),
        };
        (format!("{}.{token}", self.prefix), answer)
    }
}

async fn in_time(
    sent: impl Future<Output = Result<(), async_nats::PublishError>>,
) -> Result<(), LogError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, sent).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(LogError::away(error)),
        Err(_) => Err(LogError::Away("no connection".to_owned())),
    }
}

/// The messages of one answer.
pub(super) struct Answer {
    token: u64,
    receiver: mpsc::Receiver<Message>,
    waiting: Waiting,
}

impl Answer {
    /// The next message.
    pub(super) async fn next(&mut self) -> Result<Message, LogError> {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.receiver.recv()).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(LogError::Away("the connection is closed".to_owned())),
            Err(_) => Err(LogError::Away("no answer in time".to_owned())),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        lock(&self.waiting).remove(&self.token);
    }
}

pub(super) fn token(subject: &str) -> Option<u64> {
    subject.rsplit('.').next()?.parse().ok()
}
