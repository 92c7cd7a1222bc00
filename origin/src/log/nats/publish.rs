//! Publishing: one shared inbox for all acknowledgements, one sweep for all time-outs.
//!
//! A publication costs a place in a queue and a message; no subscription, task or timer of its own. An acknowledgement
//! that does not come, "no responders" and a lost connection are all [`Ack::Unknown`]: the message may be stored.
//!
//! Events of a stream that is read live here go to this region's log without an acknowledgement: the log repeats a
//! message after it stored it, so the event's coming back says the same, one message of three less. What does not come
//! back in time is published again, with an acknowledgement; its message id makes that a repeat. Another region's log is
//! asked for one always: it is farther away, and seldom written to.

mod acks;
mod pending;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message, Subject, header};
use bytes::Bytes;
use chorus_protocol::{CommentId, Region, StreamId, subject};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, watch};

use self::acks::{count, read_ack};
use self::pending::{Pending, Publication, Table};
use super::{Nats, header_text, replies};
use crate::config;
use crate::health::Condition;
use crate::lock::lock;
use crate::log::publish::{ACK_TIMEOUT, ack_wait};
use crate::log::{Ack, Answer, Link, LogError, Publish, Regional as _, Tag, Waiter};
use crate::metrics::Metrics;

/// An event that has not come back live by then is asked for.
const PROOF_TIMEOUT: Duration = Duration::from_millis(250);
/// Events that did not come back at one sweep from which the next ones go with an acknowledgement: fewer are repeats,
/// which never do.
const DOUBT_MIN: usize = 8;
/// For how long they go with one.
const DOUBT: Duration = Duration::from_secs(5);
/// How often late acknowledgements and events are looked for.
const SWEEP: Duration = Duration::from_millis(250);
/// How long a publication may wait for room in the connection's queue.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// Acknowledgements taken before the connection and the sweep are looked at.
const GROUP_MAX: usize = 64;
/// The most digits a token has.
const TOKEN_DIGITS_MAX: usize = 20;
/// No message has this id: what is to be stored behind it is not.
const NO_MESSAGE: &str = "none";
/// How often a log that acknowledged nothing is tried.
const TRIAL: Duration = Duration::from_secs(1);

pub(super) struct Publisher {
    client: async_nats::Client,
    /// Of the reply subjects, with its dot; the token follows.
    prefix: String,
    table: Mutex<Table>,
    region: Region,
    /// How long an event's acknowledgement is waited for.
    event_wait: Duration,
    metrics: Arc<Metrics>,
}

impl Publisher {
    pub(super) async fn start(
        client: &async_nats::Client,
        link: watch::Receiver<Link>,
        region: &Region,
        config: &config::Nats,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Self>, LogError> {
        let prefix = format!("{}.", client.new_inbox());
        let inbox = client
            .subscribe(format!("{prefix}*"))
            .await
            .map_err(LogError::away)?;
        let this = Arc::new(Self {
            client: client.clone(),
            prefix,
            table: Mutex::default(),
            region: region.clone(),
            event_wait: ack_wait(config),
            metrics: Arc::clone(metrics),
        });
        tokio::spawn(Arc::clone(&this).route(inbox, link));
        Ok(this)
    }

    async fn publish(&self, subject: Subject, headers: HeaderMap, payload: Bytes, waiter: Waiter) {
        let token = self.add(waiter, None);
        let mut reply = String::with_capacity(self.prefix.len() + TOKEN_DIGITS_MAX);
        reply.push_str(&self.prefix);
        // Writing to a string cannot fail.
        let _ = write!(reply, "{token}");
        let client = &self.client;
        let sent = client.publish_with_reply_and_headers(subject, reply, headers, payload);
        self.sent(token, tokio::time::timeout(SEND_TIMEOUT, sent).await);
    }

    async fn publish_event(&self, event: Publication, waiter: Waiter) {
        if self.is_own(&waiter.tag) {
            lock(&self.table).asked = Some(event.clone());
        }
        let headers = event.headers();
        self.publish(event.subject, headers, event.body, waiter)
            .await;
    }

    /// The same without an acknowledgement: its coming back is one.
    async fn publish_unacknowledged(&self, event: Publication, waiter: Waiter) {
        let (subject, body) = (event.subject.clone(), event.body.clone());
        let headers = event.headers();
        let token = self.add(waiter, Some(event));
        let sent = self.client.publish_with_headers(subject, headers, body);
        self.sent(token, tokio::time::timeout(SEND_TIMEOUT, sent).await);
    }

    fn add(&self, waiter: Waiter, event: Option<Publication>) -> u64 {
        let mut table = lock(&self.table);
        // Under the lock: whoever has the higher number is the younger.
        let since = Instant::now();
        table.add(Pending {
            since,
            waiter,
            event,
        })
    }

    fn sent<T, E>(&self, token: u64, sent: Result<Result<T, E>, tokio::time::error::Elapsed>) {
        if !matches!(sent, Ok(Ok(_)))
            && let Some(pending) = lock(&self.table).remove(token)
        {
            pending.waiter.tell(Ack::Unknown);
        }
    }

    /// An event came back live: whoever published it is told, where that was here.
    pub(super) fn came_back(&self, message: &Message, seq: u64) {
        if let Some(pending) = self.take_published(message) {
            let duplicate = false;
            self.tell(pending, Ack::Stored { seq, duplicate });
        }
    }

    fn take_published(&self, message: &Message) -> Option<Pending> {
        let mut table = lock(&self.table);
        // Reading the header costs more than this look.
        if !table.looks_for_any() {
            return None;
        }
        let key = header_text(message, header::NATS_MESSAGE_ID)?;
        let key = u128::from_str_radix(key, 16).ok()?;
        table.remove_event(key, &message.payload)
    }

    async fn route(
        self: Arc<Self>,
        mut inbox: async_nats::Subscriber,
        mut link: watch::Receiver<Link>,
    ) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = inbox.next() => {
                    let Some(message) = message else { return };
                    self.acknowledged(&message);
                    // They come in groups; an end of the subscription is seen at the next turn.
                    for _ in 1..GROUP_MAX {
                        let Some(Some(message)) = inbox.next().now_or_never() else { break };
                        self.acknowledged(&message);
                    }
                }
                changed = link.changed() => {
                    if changed.is_err() { return }
                    if !link.borrow_and_update().connected {
                        // Acknowledgements on their way are lost with the connection.
                        let lost = lock(&self.table).take_all();
                        self.give_up(lost);
                    }
                }
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    fn acknowledged(&self, message: &Message) {
        let pending =
            replies::token(&message.subject).and_then(|token| lock(&self.table).remove(token));
        if let Some(pending) = pending {
            self.tell(pending, read_ack(message));
        }
    }

    /// Gives up what is late, and asks for the events that did not come back.
    fn sweep(self: &Arc<Self>) {
        let now = Instant::now();
        let (late, unproved) = {
            let mut table = lock(&self.table);
            let unproved = now
                .checked_sub(PROOF_TIMEOUT)
                .map(|then| table.take_unproved(then))
                .unwrap_or_default();
            if unproved.len() >= DOUBT_MIN {
                table.doubt_until(now + DOUBT);
            }
            let then = now.checked_sub(ACK_TIMEOUT);
            let mut late: Vec<Pending> = std::iter::from_fn(|| table.pop_late(then?)).collect();
            if self.event_wait < ACK_TIMEOUT
                && let Some(then) = now.checked_sub(self.event_wait)
            {
                late.extend(table.take_late_events(then));
            }
            (late, unproved)
        };
        let health = &self.metrics.health;
        let own = |late: &Pending| late.is_event() && self.is_own(&late.waiter.tag);
        // Without a connection it is the connection that is away.
        if self.metrics.nats_connected.get() != 0 && late.iter().any(own) {
            health.begin(Condition::LogWrites, format!(
                "the log acknowledged no comment within {} ms: a disk of nats-server may be full or read-only (its /healthz \
                 says so; it must be started again then)",
                self.event_wait.as_millis()
            ));
        }
        self.give_up(late.into_iter());
        if health.has(Condition::LogWrites) {
            self.try_log(now);
        }
        if unproved.is_empty() {
            return;
        }
        self.metrics
            .publishes_unproved
            .inc_by(unproved.len() as u64);
        let this = Arc::clone(self);
        // Room in the connection's queue is waited for elsewhere: acknowledgements go on being read.
        tokio::spawn(async move {
            for pending in unproved {
                if let Some(event) = pending.event {
                    this.publish_event(event, pending.waiter).await;
                }
            }
        });
    }

    /// Publishes the last event that was asked for again: the log writes when it is acknowledged, and its message id makes
    /// a repeat of what is stored already. It was said to be unknown, which stays true either way.
    fn try_log(self: &Arc<Self>, now: Instant) {
        if self.metrics.nats_connected.get() == 0 {
            return;
        }
        let event = {
            let mut table = lock(&self.table);
            let tried = table.tried;
            if tried.is_some_and(|then| now.saturating_duration_since(then) < TRIAL) {
                return;
            }
            table.tried = Some(now);
            table.asked.clone()
        };
        let Some(event) = event else { return };
        let (to, _) = mpsc::unbounded_channel();
        let tag = Tag {
            id: Some(CommentId(0)),
            region: Some(self.region.clone()),
            ..Tag::default()
        };
        let this = Arc::clone(self);
        tokio::spawn(async move { this.publish_event(event, Waiter { to, tag }).await });
    }

    fn give_up(&self, lost: impl Iterator<Item = Pending>) {
        for pending in lost {
            count(&self.metrics, &Ack::Unknown);
            pending.waiter.tell(Ack::Unknown);
        }
    }

    fn is_own(&self, tag: &Tag) -> bool {
        tag.region.as_ref() == Some(&self.region)
    }

    fn tell(&self, pending: Pending, ack: Ack) {
        count(&self.metrics, &ack);
        if pending.is_event() && self.is_own(&pending.waiter.tag) {
            let health = &self.metrics.health;
            match ack {
                Ack::Stored { .. } => health.end(Condition::LogWrites),
                Ack::Refused => health.begin(
                    Condition::LogWrites,
                    "the log takes no more: its bound or nats-server's is reached".to_owned(),
                ),
                Ack::Unknown => {}
            }
        }
        self.metrics
            .ack_seconds
            .observe(pending.since.elapsed().as_secs_f64());
        pending.waiter.tell(ack);
    }
}

impl Publication {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, message_id(self.key));
        headers
    }
}

impl Publish for Nats {
    fn publish_event<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        key: u128,
        body: Bytes,
        waiter: Waiter,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some((subject, waiter)) = self.address(region, stream, waiter) else {
                return;
            };
            let Some(waiter) = self.admit(waiter) else {
                return;
            };
            let event = Publication { subject, key, body };
            let publisher = &self.inner.publisher;
            if region == self.region()
                && self.inner.followed.contains(stream)
                && lock(&publisher.table).may_look_for(key)
            {
                publisher.publish_unacknowledged(event, waiter).await;
            } else {
                publisher.publish_event(event, waiter).await;
            }
        })
    }

    fn find_repeat<'a>(
        &'a self,
        region: &'a Region,
        stream: &'a StreamId,
        key: u128,
        waiter: Waiter,
    ) -> BoxFuture<'a, ()> {
        let mut headers = HeaderMap::new();
        // The log looks for a repeat before it looks at this; at an expected sequence it looks first.
        headers.insert(header::NATS_MESSAGE_ID, message_id(key));
        headers.insert(header::NATS_EXPECTED_LAST_MESSAGE_ID, NO_MESSAGE);
        Box::pin(async move {
            if let Some((subject, waiter)) = self.address(region, stream, waiter) {
                self.publish(subject, headers, Bytes::new(), waiter).await;
            }
        })
    }

    fn publish_reaction<'a>(
        &'a self,
        stream: &'a StreamId,
        reaction_type: &'a str,
        key: u128,
        by: u64,
        waiter: Waiter,
    ) -> BoxFuture<'a, ()> {
        let mut headers = HeaderMap::new();
        let id = format!("{}.{reaction_type}", message_id(key));
        headers.insert(header::NATS_MESSAGE_ID, id);
        headers.insert("Nats-Incr", format!("+{by}"));
        let subject = subject::reaction(self.region(), stream, reaction_type);
        Box::pin(self.publish(subject.into(), headers, Bytes::new(), waiter))
    }

    fn publish_dead<'a>(
        &'a self,
        role: &'a str,
        region: &'a Region,
        (partition, seq): (u16, u64),
        reason: &'a str,
        payload: &'a [u8],
    ) -> Answer<'a, ()> {
        let mut headers = HeaderMap::new();
        let id = format!("{role}.{region}.{partition}.{seq}");
        headers.insert(header::NATS_MESSAGE_ID, id);
        headers.insert("Chorus-Region", region.as_str());
        headers.insert("Chorus-Partition", partition.to_string());
        headers.insert("Chorus-Sequence", seq.to_string());
        headers.insert("Chorus-Reason", reason.replace(['\r', '\n'], " "));
        let subject = subject::dead(self.region(), role);
        Box::pin(async move {
            self.publish_and_wait(subject, headers, payload.to_vec().into())
                .await
                .map(|_| ())
        })
    }
}

impl Nats {
    /// Where a stream's events are in a region; noted in the tag. `None`: the waiter was told that nobody knows.
    fn address(
        &self,
        region: &Region,
        stream: &StreamId,
        mut waiter: Waiter,
    ) -> Option<(Subject, Waiter)> {
        waiter.tag.region = Some(region.clone());
        let Ok(partition) = self.registry().partition_of(region, stream) else {
            waiter.tell(Ack::Unknown);
            return None;
        };
        waiter.tag.partition = partition;
        let subject = subject::event(region, partition, stream);
        Some((subject.into(), waiter))
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
        self.publish(subject.into(), headers, payload, waiter).await;
        match answer.recv().await {
            Some((_, Ack::Stored { seq, .. })) => Ok(seq),
            Some((_, Ack::Refused)) => Err(LogError::Refused("not stored".to_owned())),
            Some((_, Ack::Unknown)) | None => Err(LogError::Away("no acknowledgement".to_owned())),
        }
    }

    async fn publish(&self, subject: Subject, headers: HeaderMap, payload: Bytes, waiter: Waiter) {
        if let Some(waiter) = self.admit(waiter) {
            let publisher = &self.inner.publisher;
            publisher.publish(subject, headers, payload, waiter).await;
        }
    }

    /// Counts a publication. Without a connection the client would keep it and send it some time: the waiter is told
    /// at once instead.
    fn admit(&self, waiter: Waiter) -> Option<Waiter> {
        if !self.connected() {
            waiter.tell(Ack::Unknown);
            return None;
        }
        self.inner.metrics.publishes.inc();
        Some(waiter)
    }
}

fn message_id(key: u128) -> String {
    data_encoding::HEXLOWER.encode(&key.to_be_bytes())
}
