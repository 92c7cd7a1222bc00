//! A follower at work: live messages, asks, answers and deadlines go into the core; what it wants is done.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chorus_protocol::StreamId;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::core::{Core, Frame, Heard, LaneId, Out};
use super::reads::{Done, Task, perform, standings};
use super::{Ask, Ended, Outlet, Subscriptions};
use crate::clock;
use crate::gateway::followers::Shared;
use crate::log::Live;

/// Live messages taken together.
const GROUP_MAX: usize = 500;
/// Live messages whose room is kept for the next ones; a follower of a quiet stream needs no more.
const GROUP_KEPT: usize = 32;
/// Groups of live messages taken before what else there may be is looked at first.
const AHEAD_MAX: usize = 8;

pub(super) async fn serve(
    stream: StreamId,
    shared: Arc<Shared>,
    mut subscriptions: Subscriptions,
    asks: &mut mpsc::Receiver<Ask>,
) -> Ended {
    let mut regions = shared.regions.subscribe();
    let mut follower = Follower {
        core: Core::new(stream.clone(), shared.bounds, clock::draw(), 0),
        out: Out::default(),
        lanes: HashMap::new(),
        started: Instant::now(),
        stream,
        shared,
    };
    follower.core.regions(standings(&follower.shared.log));
    let mut reads = FuturesUnordered::new();
    // One timer, set anew only when another time is due: a comment changes nothing of it.
    let mut wake = pin!(tokio::time::sleep(Duration::ZERO));
    let mut set_to_ms = None;
    let mut group = Vec::new();
    let mut ahead = 0;
    loop {
        follower.act().await;
        for task in follower.tasks() {
            let shared = Arc::clone(&follower.shared);
            reads.push(perform(shared, follower.stream.clone(), task));
        }
        if follower.out.end {
            return Ended::Idle;
        }
        let due_ms = follower.core.next();
        if due_ms != set_to_ms
            && let Some(at) = due_ms
        {
            let at = follower.started + Duration::from_millis(at);
            wake.as_mut().reset(at.into());
        }
        set_to_ms = due_ms;
        // Live messages are nearly all that comes: trying them first leaves the others alone at most wake-ups. Those are
        // not starved: after some groups they go first, and in a flood they take turns with it. Among them the rare and
        // bounded ones are first. Every turn looks at deadlines, whatever it is for.
        let mut live = false;
        let started = follower.core.is_started();
        tokio::select! {
            biased;
            () = subscriptions.events.next_group(GROUP_MAX, &mut group), if started && ahead < AHEAD_MAX => {
                live = true;
                if group.is_empty() { return Ended::Closed }
                follower.hear(&mut group);
            }
            Some(done) = reads.next(), if !reads.is_empty() => follower.done(done),
            ask = asks.recv() => match ask {
                Some(ask) => follower.asked(ask),
                None => return Ended::Closed,
            },
            report = subscriptions.presence.next() => match report {
                Some(report) if report.gateway == follower.shared.name => {}
                Some(report) => {
                    let now_ms = follower.now_ms();
                    follower.core.elsewhere(now_ms, report.gateway, report.viewers);
                }
                None => return Ended::Closed,
            },
            reaction = subscriptions.reactions.next() => match reaction {
                Some((region, kind, total)) => follower.core.reaction(region, kind, total),
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
        if !live {
            follower.sweep_lanes();
            if regions.has_changed().unwrap_or(false) {
                let regions = regions.borrow_and_update().clone();
                follower.core.regions(regions);
            }
        }
    }
}

struct Follower {
    stream: StreamId,
    shared: Arc<Shared>,
    core: Core,
    out: Out,
    lanes: HashMap<LaneId, Outlet>,
    started: Instant,
}

impl Follower {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes a group of live messages.
    fn hear(&mut self, group: &mut Vec<Live>) {
        // The quiet lane counts for all quiet streams.
        if self.core.is_busy() {
            self.shared.pace.count(group.len());
        }
        for live in group.drain(..) {
            let (event, previous) = (live.event, live.previous);
            self.core.hear(Heard { event, previous });
        }
        group.shrink_to(GROUP_KEPT);
    }

    fn asked(&mut self, ask: Ask) {
        let now_ms = self.now_ms();
        match ask {
            Ask::Hold { lane, have, outlet } => {
                self.lanes.insert(lane, outlet);
                self.core.hold(lane, have);
            }
            Ask::Release { lane } => {
                self.lanes.remove(&lane);
                self.core.release(now_ms, lane);
            }
            Ask::Drained { lane } => self.core.drained(lane),
            Ask::Last { region, last } => self.core.last(now_ms, region, last),
            Ask::Viewing { pop, viewers } => self.core.viewing(now_ms, pop, viewers),
            Ask::Gone { pop } => self.core.gone(&pop),
            Ask::Reconnected => self.core.reconnected(),
            // Looked at in every turn.
            Ask::Regions => {}
        }
    }

    fn done(&mut self, done: Done) {
        let now_ms = self.now_ms();
        let stream = &self.stream;
        match done {
            Done::History(past) => {
                if let Err(error) = &past {
                    tracing::debug!(%stream, %error, "cannot read the history yet");
                }
                // As the history saw them.
                self.core.regions(standings(&self.shared.log));
                self.core.history(now_ms, past.ok());
            }
            Done::Totals(region, totals) => {
                if let Err(error) = &totals {
                    tracing::debug!(%stream, %region, %error, "cannot read the totals yet");
                }
                self.core.totals(now_ms, region, totals.ok());
            }
            Done::Log(read, found) => {
                if let Err(error) = &found {
                    tracing::debug!(%stream, region = %read.region, %error, "cannot read the log yet");
                }
                self.core.read(now_ms, &read, found.ok());
            }
        }
    }

    /// Does what the core wants, but for the reads.
    async fn act(&mut self) {
        let now_ms = self.now_ms();
        loop {
            self.core.flush(now_ms, &mut self.out);
            self.count();
            let all_taken = self.hand_over(now_ms);
            self.out.frames.clear();
            if all_taken {
                break;
            }
        }
        for datagram in self.out.datagrams.drain(..) {
            for lane in self.lanes.values() {
                // May be lost: what was said last is repeated.
                let _ = lane.connection.send_datagram(datagram.clone());
            }
        }
        if let Some(viewers) = self.out.report.take() {
            let log = &self.shared.log;
            log.report_presence(&self.shared.id, &self.stream, viewers)
                .await;
        }
    }

    /// What the core wants to be read.
    fn tasks(&mut self) -> impl Iterator<Item = Task> + use<> {
        let history = std::mem::take(&mut self.out.history).then_some(Task::History);
        let totals = std::mem::take(&mut self.out.totals).into_iter();
        let reads = std::mem::take(&mut self.out.reads).into_iter();
        let log = totals.map(Task::Totals).chain(reads.map(Task::Log));
        history.into_iter().chain(log)
    }

    /// Tells lanes what happens to them and hands deliveries over; false when some were not taken.
    fn hand_over(&mut self, now_ms: u64) -> bool {
        let mut gone = Vec::new();
        for (id, to) in self.out.lanes.drain(..) {
            let heard = self.lanes.get_mut(&id).is_some_and(|lane| lane.tell(to));
            if !heard {
                gone.push(id);
            }
        }
        let mut refused: BTreeMap<LaneId, Vec<Frame>> = BTreeMap::new();
        for (id, range) in self.out.deliveries.drain(..) {
            let Some(lane) = self.lanes.get_mut(&id) else {
                continue;
            };
            let frames = self.out.frames.get(range).unwrap_or_default();
            let mut taken = 0;
            // Nothing goes after what was refused.
            if !refused.contains_key(&id) {
                let put = |frame: &Frame| lane.put(&self.stream, &frame.bytes);
                let failed = frames.iter().map(put).position(|put| match put {
                    Ok(()) => false,
                    Err(TrySendError::Full(())) => true,
                    Err(TrySendError::Closed(())) => {
                        gone.push(id);
                        true
                    }
                });
                let Some(failed) = failed else { continue };
                taken = failed;
            }
            refused
                .entry(id)
                .or_default()
                .extend_from_slice(&frames[taken..]);
        }
        for id in &gone {
            self.lanes.remove(id);
            self.core.release(now_ms, *id);
        }
        for (id, frames) in &refused {
            self.core.full(now_ms, *id, frames);
            if let Some(lane) = self.lanes.get_mut(id) {
                lane.own = None;
            }
        }
        gone.is_empty() && refused.is_empty()
    }

    /// Lanes whose holds are gone without a word.
    fn sweep_lanes(&mut self) {
        let now_ms = self.now_ms();
        let core = &mut self.core;
        self.lanes.retain(|id, lane| {
            let closed = lane.is_closed();
            if closed {
                core.release(now_ms, *id);
            }
            !closed
        });
    }

    fn count(&mut self) {
        let counts = std::mem::take(&mut self.out.counts);
        let metrics = &self.shared.metrics;
        metrics.items_followed.inc_by(counts.forwarded);
        metrics.gaps_seen.inc_by(counts.holes);
        metrics.gaps_repaired.inc_by(counts.repaired);
        metrics.tail_repairs.inc_by(counts.tail_repairs);
        metrics.lanes_lagged.inc_by(counts.lagged);
    }
}
