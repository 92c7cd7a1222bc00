//! A follower at work: live messages, asks and deadlines come in, frames and datagrams go out.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chorus_protocol::backhaul::{Datagram, write_bare, write_frame};
use chorus_protocol::gap::Heard;
use chorus_protocol::server::Reactions;
use chorus_protocol::session::Delivery;
use chorus_protocol::{Event, Region, StreamId};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::{Ask, Ended, Follower, Frame, Out, Reading, Ready, Subscriptions};
use crate::log::{Live, Log, LogError, Tail};

/// Events of one delivery.
pub(in crate::gateway) const DELIVERY_EVENTS_MAX: usize = 500;
/// What an event takes encoded, about: a buffer of the right size need not grow.
const ENCODED_BYTES: usize = 384;
/// Live messages taken together.
const GROUP_MAX: usize = DELIVERY_EVENTS_MAX;
/// Live messages whose room is kept for the next ones; a follower of a quiet stream needs no more.
const GROUP_KEPT: usize = 32;
/// Groups of live messages taken before what else there may be is looked at first.
const AHEAD_MAX: usize = 8;
/// Events read from the log at once to close a hole.
const REPAIR_EVENTS_MAX: usize = 2_000;
/// How long live messages get before a last sequence that is ahead of them counts as a loss.
const SUSPECT_MS: u64 = 150;
/// How long a follower stays when nobody holds its stream: viewers come and go.
const LINGER_MS: u64 = 5_000;
/// Reaction types in one datagram, so that it fits a packet.
const DATAGRAM_TYPES_MAX: usize = 20;
/// From a failed read of the log to the next.
const REPAIR_PAUSE: Duration = Duration::from_millis(100);

type Repair = (Region, Result<Tail, LogError>);

impl Follower {
    pub(super) async fn serve(
        mut self,
        mut subscriptions: Subscriptions,
        asks: &mut mpsc::Receiver<Ask>,
    ) -> Ended {
        let started = Instant::now();
        let now_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut repairs = FuturesUnordered::new();
        self.idle_since_ms = Some(0);
        // One timer, set anew only when another time is due: a comment changes nothing of it.
        let mut wake = pin!(tokio::time::sleep(Duration::ZERO));
        let mut set_to_ms = None;
        let mut said_ms = self.said_due_ms();
        let mut group = Vec::new();
        let mut frames = Vec::new();
        let mut ahead = 0;
        loop {
            let due_ms = self.due_ms(said_ms);
            if due_ms != set_to_ms
                && let Some(at) = due_ms
            {
                wake.as_mut()
                    .reset((started + Duration::from_millis(at)).into());
            }
            set_to_ms = due_ms;
            // Live messages are nearly all that comes: trying them first leaves the others alone at most wake-ups.
            // Those are not starved: after some groups they go first, and in a flood they take turns with it. Among
            // them the rare and bounded ones are first. Every turn looks at deadlines, whatever it is for.
            let mut live = false;
            tokio::select! {
                biased;
                () = subscriptions.events.next_group(GROUP_MAX, &mut group), if ahead < AHEAD_MAX => {
                    live = true;
                    if let Err(ended) = self.hear(&mut group) { return ended }
                }
                Some(repair) = repairs.next(), if !repairs.is_empty() => self.repaired(repair),
                ask = asks.recv() => match ask {
                    Some(ask) => self.asked(ask, now_ms()),
                    None => return Ended::Closed,
                },
                report = subscriptions.presence.next() => match report {
                    Some(report) if report.gateway == self.shared.name => {}
                    Some(report) => self.viewers.elsewhere(report.gateway, report.viewers, now_ms()),
                    None => return Ended::Closed,
                },
                reaction = subscriptions.reactions.next() => match reaction {
                    Some((region, kind, total)) => self.totals.note(region, kind, total),
                    None => return Ended::Closed,
                },
                () = &mut wake, if set_to_ms.is_some() => set_to_ms = None,
                () = std::future::ready(()), if ahead >= AHEAD_MAX => {
                    // None of the others has anything.
                    ahead = 0;
                    continue;
                }
            }
            ahead = if live {
                ahead + 1
            } else {
                ahead.saturating_sub(1)
            };
            let now = now_ms();
            // Live messages change nothing of the totals.
            let mut changed = !live;
            if self.totals_stale {
                changed = true;
                self.totals_stale = self.read_totals().await.is_err();
            }
            self.look_at_suspects(now);
            self.forward(now, &mut frames);
            for (region, reading) in &mut self.trackers {
                if let Some(after) = reading.tracker.wants() {
                    let log = self.shared.log.clone();
                    repairs.push(read(log, region.clone(), self.stream.clone(), after));
                }
            }
            if changed {
                said_ms = self.said_due_ms();
            }
            if said_ms.is_some_and(|at| at <= now) {
                self.tell(now).await;
                said_ms = self.said_due_ms();
            }
            if self.idle(now) {
                return Ended::Idle;
            }
        }
    }

    /// Takes a group of live messages.
    fn hear(&mut self, group: &mut Vec<Live>) -> Result<(), Ended> {
        if group.is_empty() {
            return Err(Ended::Closed);
        }
        // The quiet lane counts for all quiet streams.
        if self.rate.is_busy() {
            self.shared.pace.count(group.len());
        }
        for live in group.drain(..) {
            let Some(reading) = self.trackers.get_mut(&live.event.region) else {
                return Err(Ended::Regions);
            };
            let tracker = &mut reading.tracker;
            if tracker.epoch() != live.event.epoch {
                return Err(Ended::Regions);
            }
            if tracker.hear(live.previous, live.event.seq, live.event) == Heard::Hole {
                self.shared.metrics.gaps_seen.inc();
            }
        }
        group.shrink_to(GROUP_KEPT);
        Ok(())
    }

    fn asked(&mut self, ask: Ask, now_ms: u64) {
        match ask {
            Ask::Attach {
                lane,
                connection,
                quiet,
                answer,
            } => self.attach(lane, connection, quiet, answer),
            Ask::Detach { lane } => {
                self.lanes.remove(&lane);
            }
            Ask::Last { region, last } => {
                let behind = |reading: &Reading| reading.forwarded < last;
                if self.trackers.get(&region).is_some_and(behind) {
                    self.suspects.insert(region, last);
                    self.suspect_at_ms.get_or_insert(now_ms + SUSPECT_MS);
                }
            }
            Ask::Viewing { pop, viewers } => self.viewers.here(pop, viewers, now_ms),
            Ask::Gone { pop } => self.viewers.gone(&pop),
            Ask::Reconnected => self.totals_stale = true,
        }
    }

    fn repaired(&mut self, (region, read): Repair) {
        let Some(reading) = self.trackers.get_mut(&region) else {
            return;
        };
        let tracker = &mut reading.tracker;
        match read {
            Ok(tail) => {
                let found = tail.events.into_iter().map(|event| (event.seq, event));
                let missing = tracker.read(found, tail.complete);
                if missing > 0 {
                    self.shared.metrics.gaps_repaired.inc();
                    tracing::debug!(stream = %self.stream, %region, missing, "closed a hole from the log");
                }
            }
            Err(error) => {
                tracing::debug!(stream = %self.stream, %region, %error, "a hole cannot be closed yet");
                tracker.not_read();
            }
        }
    }

    fn look_at_suspects(&mut self, now_ms: u64) {
        if self.suspect_at_ms.is_none_or(|at| at > now_ms) {
            return;
        }
        self.suspect_at_ms = None;
        for (region, last) in std::mem::take(&mut self.suspects) {
            if let Some(reading) = self.trackers.get_mut(&region)
                && reading.tracker.last(last)
            {
                self.shared.metrics.tail_repairs.inc();
            }
        }
    }

    /// Hands on what is ready; `frames` is empty before and after.
    fn forward(&mut self, now_ms: u64, frames: &mut Vec<Frame>) {
        let mut forwarded = 0;
        for (region, reading) in &mut self.trackers {
            let epoch = reading.tracker.epoch();
            if let Some(ready) = reading.take() {
                forwarded += ready.events.len();
                for event in encode(region, epoch, ready, frames) {
                    let by = self.newest.take(&event);
                    self.comment_count = self.comment_count.saturating_add_signed(by);
                }
            }
        }
        let metrics = &self.shared.metrics;
        metrics.items_followed.inc_by(forwarded as u64);
        if forwarded > 0 && self.rate.count(forwarded, now_ms) {
            // Their holds attach again, with a lane of their own.
            self.lanes.retain(|_, lane| matches!(lane.out, Out::Own(_)));
        }
        for frame in frames.drain(..) {
            self.lanes.retain(|_, lane| {
                let kept = lane.put(&self.stream, &frame);
                if let Err(mpsc::error::TrySendError::Full(())) = kept {
                    // What it has is written; then it catches up from the log.
                    metrics.lanes_lagged.inc();
                }
                kept.is_ok()
            });
        }
    }

    async fn tell(&mut self, now_ms: u64) {
        self.viewers.expire(now_ms);
        if let Some(viewers) = self.viewers.report(now_ms) {
            let log = &self.shared.log;
            log.report_presence(&self.shared.id, &self.stream, viewers)
                .await;
        }
        let viewers = self.viewers.take(now_ms);
        let reactions = self.totals.take(now_ms);
        if viewers.is_none() && reactions.is_none() {
            return;
        }
        for datagram in datagrams(&self.stream, reactions.unwrap_or_default(), viewers) {
            for lane in self.lanes.values() {
                // May be lost: what was said last is repeated.
                let _ = lane.connection.send_datagram(datagram.clone());
            }
        }
    }

    /// When [`Follower::tell`] has something to do.
    fn said_due_ms(&self) -> Option<u64> {
        let due = [self.totals.due_ms(), self.viewers.due_ms()];
        due.into_iter().flatten().min()
    }

    /// When there is something to do without a message.
    fn due_ms(&self, said_ms: Option<u64>) -> Option<u64> {
        let idle = self.idle_since_ms.map(|since| since + LINGER_MS);
        let due = [said_ms, self.suspect_at_ms, idle];
        due.into_iter().flatten().min()
    }

    fn idle(&mut self, now_ms: u64) -> bool {
        self.lanes.retain(|_, lane| !lane.is_closed());
        if !self.lanes.is_empty() {
            self.idle_since_ms = None;
            return false;
        }
        let since = *self.idle_since_ms.get_or_insert(now_ms);
        now_ms >= since + LINGER_MS
    }
}

async fn read(log: Arc<dyn Log>, region: Region, stream: StreamId, after: u64) -> Repair {
    let tail = log
        .settled_tail(&region, &stream, after, REPAIR_EVENTS_MAX)
        .await;
    if tail.is_err() {
        tokio::time::sleep(REPAIR_PAUSE).await;
    }
    (region, tail)
}

/// Encodes what is ready, in deliveries of at most [`DELIVERY_EVENTS_MAX`] events, and gives the events back.
pub(in crate::gateway) fn encode(
    region: &Region,
    epoch: u64,
    ready: Ready,
    frames: &mut Vec<Frame>,
) -> Vec<Event> {
    let mut from = ready.from;
    let mut events = ready.events;
    let mut encoded = Vec::new();
    loop {
        let rest = if events.len() > DELIVERY_EVENTS_MAX {
            events.split_off(DELIVERY_EVENTS_MAX)
        } else {
            Vec::new()
        };
        let to = match events.last() {
            Some(last) if !rest.is_empty() => last.seq,
            Some(_) | None => ready.to,
        };
        let delivery = Delivery {
            region: region.clone(),
            epoch,
            from,
            to,
            events,
        };
        let mut bytes = Vec::with_capacity(ENCODED_BYTES * (1 + delivery.events.len()));
        match write_frame(&delivery, &mut bytes) {
            Ok(()) => frames.push(Frame {
                region: region.clone(),
                epoch,
                to,
                bytes: bytes.into(),
            }),
            // 500 messages of at most 1 MiB may pass the bound only if the limits were raised a hundredfold.
            Err(error) => tracing::error!(%error, "a delivery cannot be encoded"),
        }
        if encoded.is_empty() {
            encoded = delivery.events;
        } else {
            encoded.extend(delivery.events);
        }
        if rest.is_empty() {
            return encoded;
        }
        from = to;
        events = rest;
    }
}

fn datagrams(stream: &StreamId, reactions: Reactions, viewers: Option<u64>) -> Vec<bytes::Bytes> {
    let mut kinds = reactions.into_iter().peekable();
    let mut viewers = viewers;
    let mut encoded = Vec::new();
    while kinds.peek().is_some() || viewers.is_some() {
        let datagram = Datagram::Totals {
            stream: stream.clone(),
            reactions: kinds.by_ref().take(DATAGRAM_TYPES_MAX).collect(),
            viewers: viewers.take(),
        };
        if let Ok(bytes) = write_bare(&datagram) {
            encoded.push(bytes.into());
        }
    }
    encoded
}
