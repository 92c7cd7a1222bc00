//! Publishing: one shared inbox for all acknowledgements, one sweep for all time-outs.
//!
//! A publication costs a map entry and a message; no subscription, task or timer of its own. An acknowledgement
//! that does not come, "no responders" and a lost connection are all [`Ack::Unknown`]: the message may be stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message, header};
use bytes::Bytes;
use chorus_protocol::{Region, StreamId, subject};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use super::{Link, Log, LogError, replies};
use crate::metrics::{AckLabel, Metrics};

/// An acknowledgement that takes longer is [`Ack::Unknown`].
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How often late acknowledgements are looked for.
const SWEEP: Duration = Duration::from_millis(250);
/// How long a publication may wait for room in the connection's queue.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// The server's code for a log that may take no more bytes or messages.
const FULL: [u64; 2] = [10_077, 10_054];

/// How a publication came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// A quorum holds it.
    Stored {
        /// Where: the first one's sequence when this is a repeat.
        seq: u64,
        /// It was there before.
        duplicate: bool,
    },
    /// It is certainly not stored.
    Refused,
    /// It may be stored or not.
    Unknown,
}

/// Who is told how a publication came out; each told exactly once.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// Where to.
    pub to: mpsc::UnboundedSender<(u64, Ack)>,
    /// The waiter's own number for the publication.
    pub tag: u64,
}

impl Waiter {
    fn tell(self, ack: Ack) {
        // Who asked may be gone; the publication stands either way.
        let _ = self.to.send((self.tag, ack));
    }
}

struct Pending {
    since: Instant,
    waiter: Waiter,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// Numbered in the order of sending, so the first is the oldest.
    pending: BTreeMap<u64, Pending>,
}

pub(super) struct Publisher {
    prefix: String,
    table: Arc<Mutex<Table>>,
}

impl Publisher {
    pub(super) async fn start(
        client: &async_nats::Client,
        link: watch::Receiver<Link>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, LogError> {
        let prefix = client.new_inbox();
        let inbox = client
            .subscribe(format!("{prefix}.*"))
            .await
            .map_err(LogError::away)?;
        let table = Arc::new(Mutex::new(Table::default()));
        tokio::spawn(route(inbox, Arc::clone(&table), link, Arc::clone(metrics)));
        Ok(Self { prefix, table })
    }

    async fn publish(
        &self,
        client: &async_nats::Client,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        waiter: Waiter,
    ) {
        let token = {
            let mut table = lock(&self.table);
            let token = table.next;
            table.next += 1;
            let since = Instant::now();
            table.pending.insert(token, Pending { since, waiter });
            token
        };
        let reply = format!("{}.{token}", self.prefix);
        let sent = client.publish_with_reply_and_headers(subject, reply, headers, payload);
        if !matches!(tokio::time::timeout(SEND_TIMEOUT, sent).await, Ok(Ok(())))
            && let Some(pending) = lock(&self.table).pending.remove(&token)
        {
            pending.waiter.tell(Ack::Unknown);
        }
    }
}

impl Log {
    /// Publishes a comment's record under its message id; the waiter is told how it came out.
    pub async fn publish_comment(
        &self,
        stream: &StreamId,
        key: u128,
        record: Vec<u8>,
        waiter: Waiter,
    ) {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, format!("{key:032x}"));
        let subject = subject::comment(&self.inner.region, stream);
        self.publish(subject, headers, record.into(), waiter).await;
    }

    /// Adds to a reaction's total under a message id; the waiter is told how it came out.
    pub async fn publish_reaction(
        &self,
        stream: &StreamId,
        reaction_type: &str,
        key: u128,
        by: u64,
        waiter: Waiter,
    ) {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::NATS_MESSAGE_ID,
            format!("{key:032x}.{reaction_type}"),
        );
        headers.insert("Nats-Incr", format!("+{by}"));
        let subject = subject::reaction(&self.inner.region, stream, reaction_type);
        self.publish(subject, headers, Bytes::new(), waiter).await;
    }

    /// Publishes what could not be worked on, and waits until it is stored.
    ///
    /// # Errors
    /// When it is not known to be stored.
    pub async fn publish_dead(
        &self,
        role: &str,
        region: &Region,
        seq: u64,
        reason: &str,
        payload: &[u8],
    ) -> Result<(), LogError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, format!("{role}.{region}.{seq}"));
        headers.insert("Chorus-Region", region.as_str());
        headers.insert("Chorus-Sequence", seq.to_string());
        headers.insert("Chorus-Reason", reason.replace(['\r', '\n'], " "));
        self.publish_and_wait(format!("dead.{role}"), headers, payload.to_vec().into())
            .await
            .map(|_| ())
    }

    pub(super) async fn publish_and_wait(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<u64, LogError> {
        let (to, mut answer) = mpsc::unbounded_channel();
        let waiter = Waiter { to, tag: 0 };
        self.publish(subject, headers, payload, waiter).await;
        match answer.recv().await {
            Some((_, Ack::Stored { seq, .. })) => Ok(seq),
            Some((_, Ack::Refused)) => Err(LogError::Refused("not stored".to_owned())),
            Some((_, Ack::Unknown)) | None => Err(LogError::Away("no acknowledgement".to_owned())),
        }
    }

    async fn publish(&self, subject: String, headers: HeaderMap, payload: Bytes, waiter: Waiter) {
        // Without a connection the client would keep it and send it some time: the sender is told at once instead.
        if !self.connected() {
            waiter.tell(Ack::Unknown);
            return;
        }
        self.inner.metrics.publishes.inc();
        self.inner
            .publisher
            .publish(&self.inner.client, subject, headers, payload, waiter)
            .await;
    }
}

async fn route(
    mut inbox: async_nats::Subscriber,
    table: Arc<Mutex<Table>>,
    mut link: watch::Receiver<Link>,
    metrics: Arc<Metrics>,
) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = inbox.next() => {
                let Some(message) = message else { return };
                let Some(token) = replies::token(&message.subject) else { continue };
                let pending = lock(&table).pending.remove(&token);
                if let Some(pending) = pending {
                    let ack = read_ack(&message);
                    count(&metrics, &ack);
                    metrics.ack_seconds.observe(pending.since.elapsed().as_secs_f64());
                    pending.waiter.tell(ack);
                }
            }
            changed = link.changed() => {
                if changed.is_err() { return }
                if !link.borrow_and_update().connected {
                    // Acknowledgements on their way are lost with the connection.
                    let lost = std::mem::take(&mut lock(&table).pending);
                    give_up(lost.into_values(), &metrics);
                }
            }
            _ = sweep.tick() => {
                let late = {
                    let mut table = lock(&table);
                    let mut late = Vec::new();
                    while let Some(first) = table.pending.first_entry()
                        && first.get().since.elapsed() > ACK_TIMEOUT
                    {
                        late.push(first.remove());
                    }
                    late
                };
                give_up(late.into_iter(), &metrics);
            }
        }
    }
}

fn give_up(lost: impl Iterator<Item = Pending>, metrics: &Metrics) {
    for pending in lost {
        count(metrics, &Ack::Unknown);
        pending.waiter.tell(Ack::Unknown);
    }
}

fn count(metrics: &Metrics, ack: &Ack) {
    let label = match ack {
        Ack::Stored {
            duplicate: false, ..
        } => AckLabel::Stored,
        Ack::Stored {
            duplicate: true, ..
        } => AckLabel::Duplicate,
        Ack::Refused => AckLabel::Refused,
        Ack::Unknown => AckLabel::Unknown,
    };
    metrics.ack(label);
}

#[derive(Deserialize)]
struct AckBody {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<AckError>,
}

#[derive(Deserialize)]
struct AckError {
    #[serde(default)]
    err_code: u64,
}

fn read_ack(message: &Message) -> Ack {
    // 503: no responders.
    if message.status.is_some() {
        return Ack::Unknown;
    }
    match serde_json::from_slice::<AckBody>(&message.payload) {
        Ok(AckBody {
            error: Some(error), ..
        }) if FULL.contains(&error.err_code) => Ack::Refused,
        Ok(AckBody {
            error: None,
            seq: seq @ 1..,
            duplicate,
        }) => Ack::Stored { seq, duplicate },
        Ok(_) | Err(_) => Ack::Unknown,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
