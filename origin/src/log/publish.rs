//! Publishing: one shared inbox for all acknowledgements, one sweep for all time-outs.
//!
//! A publication costs a place in a queue and a message; no subscription, task or timer of its own. An acknowledgement
//! that does not come, "no responders" and a lost connection are all [`Ack::Unknown`]: the message may be stored.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message, header};
use bytes::Bytes;
use chorus_protocol::{CommentId, Region, StreamId, subject};
use futures_util::{FutureExt as _, StreamExt as _};
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
/// Acknowledgements taken before the connection and the sweep are looked at.
const GROUP_MAX: usize = 64;
/// The most digits a token has.
const TOKEN_DIGITS_MAX: usize = 20;
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
    pub to: mpsc::UnboundedSender<(Tag, Ack)>,
    /// What the waiter knows the publication by.
    pub tag: Tag,
}

/// The waiter's own words for a publication, handed back with its acknowledgement: it need not look them up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The same for all parts of what was asked for, and for nothing else of this waiter.
    pub number: u64,
    /// Which request it answers.
    pub request: u64,
    /// The comment's id, where it is one.
    pub id: Option<CommentId>,
    /// In how many parts it is published.
    pub parts: usize,
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

/// Publications whose acknowledgement is waited for, numbered in the order of sending. Most are acknowledged in it, so
/// a queue finds them by their place.
#[derive(Default)]
struct Table {
    /// The number of the first in the queue.
    first: u64,
    /// The place of one that was acknowledged before an older one stays, empty; for [`ACK_TIMEOUT`] at most.
    pending: VecDeque<Option<Pending>>,
}

impl Table {
    fn add(&mut self, pending: Pending) -> u64 {
        self.pending.push_back(Some(pending));
        self.first + self.pending.len() as u64 - 1
    }

    fn remove(&mut self, token: u64) -> Option<Pending> {
        let place = usize::try_from(token.checked_sub(self.first)?).ok()?;
        let pending = self.pending.get_mut(place)?.take();
        while let Some(None) = self.pending.front() {
            self.pending.pop_front();
            self.first += 1;
        }
        pending
    }

    /// Takes the oldest, where it was sent before `then`.
    fn pop_late(&mut self, then: Instant) -> Option<Pending> {
        match self.pending.front() {
            Some(Some(oldest)) if oldest.since < then => self.remove(self.first),
            Some(_) | None => None,
        }
    }

    fn take_all(&mut self) -> impl Iterator<Item = Pending> + use<> {
        self.first += self.pending.len() as u64;
        std::mem::take(&mut self.pending).into_iter().flatten()
    }
}

pub(super) struct Publisher {
    /// Of the reply subjects, with its dot; the token follows.
    prefix: String,
    table: Arc<Mutex<Table>>,
}

impl Publisher {
    pub(super) async fn start(
        client: &async_nats::Client,
        link: watch::Receiver<Link>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, LogError> {
        let prefix = format!("{}.", client.new_inbox());
        let inbox = client
            .subscribe(format!("{prefix}*"))
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
            // Under the lock: whoever has the higher number is the younger.
            let since = Instant::now();
            table.add(Pending { since, waiter })
        };
        let mut reply = String::with_capacity(self.prefix.len() + TOKEN_DIGITS_MAX);
        reply.push_str(&self.prefix);
        // Writing to a string cannot fail.
        let _ = write!(reply, "{token}");
        let sent = client.publish_with_reply_and_headers(subject, reply, headers, payload);
        if !matches!(tokio::time::timeout(SEND_TIMEOUT, sent).await, Ok(Ok(())))
            && let Some(pending) = lock(&self.table).remove(token)
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
        let tag = Tag::default();
        let waiter = Waiter { to, tag };
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
                acknowledged(&message, &table, &metrics);
                // They come in groups; an end of the subscription is seen at the next turn.
                for _ in 1..GROUP_MAX {
                    let Some(Some(message)) = inbox.next().now_or_never() else { break };
                    acknowledged(&message, &table, &metrics);
                }
            }
            changed = link.changed() => {
                if changed.is_err() { return }
                if !link.borrow_and_update().connected {
                    // Acknowledgements on their way are lost with the connection.
                    let lost = lock(&table).take_all();
                    give_up(lost, &metrics);
                }
            }
            _ = sweep.tick() => {
                let late: Vec<Pending> = {
                    let mut table = lock(&table);
                    let then = Instant::now().checked_sub(ACK_TIMEOUT);
                    std::iter::from_fn(|| table.pop_late(then?)).collect()
                };
                give_up(late.into_iter(), &metrics);
            }
        }
    }
}

fn acknowledged(message: &Message, table: &Mutex<Table>, metrics: &Metrics) {
    let pending = replies::token(&message.subject).and_then(|token| lock(table).remove(token));
    if let Some(pending) = pending {
        let ack = read_ack(message);
        count(metrics, &ack);
        metrics
            .ack_seconds
            .observe(pending.since.elapsed().as_secs_f64());
        pending.waiter.tell(ack);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pending(number: u64, since: Instant) -> Pending {
        let (to, _) = mpsc::unbounded_channel();
        let tag = Tag {
            number,
            ..Tag::default()
        };
        let waiter = Waiter { to, tag };
        Pending { since, waiter }
    }

    fn number(pending: &Pending) -> u64 {
        pending.waiter.tag.number
    }

    proptest! {
        /// Whatever order they are acknowledged in, each is found once, by its own number, as in a map.
        #[test]
        fn a_table_finds_what_a_map_finds(steps in prop::collection::vec((0_u8..12, 0_u64..40), 0..200)) {
            let start = Instant::now();
            let at = |ms: u64| start + Duration::from_millis(ms);
            let mut table = Table::default();
            let mut map = BTreeMap::new();
            for (now, (kind, value)) in (0..).zip(steps) {
                match kind {
                    0..5 => {
                        let token = table.add(pending(now, at(now)));
                        prop_assert!(map.insert(token, now).is_none(), "a token of its own");
                    }
                    5..10 => {
                        let found = table.remove(value).as_ref().map(number);
                        prop_assert_eq!(found, map.remove(&value));
                    }
                    10 => {
                        let then = now.saturating_sub(value);
                        let late: Vec<u64> =
                            std::iter::from_fn(|| table.pop_late(at(then))).map(|late| number(&late)).collect();
                        let expected: Vec<u64> =
                            map.extract_if(.., |_, since| *since < then).map(|(_, since)| since).collect();
                        prop_assert_eq!(late, expected);
                    }
                    _ => {
                        let all: Vec<u64> = table.take_all().map(|lost| number(&lost)).collect();
                        prop_assert_eq!(all, std::mem::take(&mut map).into_values().collect::<Vec<u64>>());
                    }
                }
                let empty = map.is_empty();
                prop_assert_eq!(table.pending.is_empty(), empty, "no place is kept for nothing");
            }
        }
    }
}
