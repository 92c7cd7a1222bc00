//! A shard that writes down what it is told, and holds each word against the logs.

use std::collections::{BTreeMap, BTreeSet};

use chorus_edge::link::ToShard;
use chorus_protocol::backhaul::StreamState;
use chorus_protocol::session::{DeliveryView, ReplayRange, Replayed};
use chorus_protocol::{CommentId, Event, Offset, Outcome, Position, Region, StreamId};

use crate::log::{Log, Publication, Stored};

/// So many of the last comments even the smallest cache holds.
const NEWEST_KEPT: usize = 3;

/// What a stream looks like to a shard since the last state.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) at: Position,
    /// What deliveries took away.
    pub(crate) removed: BTreeSet<CommentId>,
}

/// A publication asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) publication: Publication,
    pub(crate) at_ms: u64,
    pub(crate) answer: Option<(u64, Outcome)>,
}

/// A replay asked for.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) stream: StreamId,
    pub(crate) range: ReplayRange,
    pub(crate) at_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub(crate) wants: BTreeSet<StreamId>,
    pub(crate) views: BTreeMap<StreamId, View>,
    /// Streams that it was told do not exist.
    pub(crate) unknown: BTreeSet<StreamId>,
    pub(crate) publications: BTreeMap<u64, Asked>,
    pub(crate) replays: BTreeMap<u64, Replay>,
    pub(crate) next_request: u64,
    pub(crate) connected: bool,
    /// By this machine's clock.
    pub(crate) lease_until: u64,
    pub(crate) states: u64,
    pub(crate) events: u64,
    pub(crate) replayed: u64,
    pub(crate) gaps: u64,
}

/// What is wrong.
pub(crate) type Fault = String;

impl Shard {
    pub(crate) fn request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    pub(crate) fn hear(
        &mut self,
        now_ms: u64,
        logs: &[Log],
        newest_max: usize,
        message: ToShard,
    ) -> Result<(), Fault> {
        match message {
            ToShard::State { stream, state } => {
                if !self.wants.contains(&stream) {
                    return Err(format!("a state of {stream} that nobody wants"));
                }
                match state {
                    Some(state) => self.state(logs, newest_max, &stream, &state),
                    None => {
                        self.views.remove(&stream);
                        self.unknown.insert(stream);
                        Ok(())
                    }
                }
            }
            ToShard::Delivered { stream, data } => self.delivered(logs, &stream, &data),
            ToShard::Replayed { request, data } => {
                let replayed: Replayed =
                    chorus_protocol::backhaul::read_frame(&data).map_err(|it| it.to_string())?;
                self.replayed(logs, request, &replayed)
            }
            ToShard::Published(answers) => {
                for (request, outcome) in answers {
                    self.published(now_ms, logs, request, outcome)?;
                }
                Ok(())
            }
            ToShard::Lease { until, .. } => {
                self.lease_until = until.0;
                Ok(())
            }
            ToShard::Connected(connected) => {
                self.connected = connected;
                Ok(())
            }
            ToShard::Life { .. }
            | ToShard::Counted { .. }
            | ToShard::User { .. }
            | ToShard::ReactionsRefused(_) => Ok(()),
            ToShard::BackhaulLost
            | ToShard::Configured(_)
            | ToShard::Swap { .. }
            | ToShard::Returned(_)
            | ToShard::Drain { .. } => Err("the hub does not say that".to_owned()),
        }
    }

    fn state(
        &mut self,
        logs: &[Log],
        newest_max: usize,
        stream: &StreamId,
        state: &StreamState,
    ) -> Result<(), Fault> {
        self.states += 1;
        let before = self.views.remove(stream).map(|view| view.removed);
        let mut removed = before.unwrap_or_default();
        let of_removals = |event: &Event| event.envelope().and_then(|it| it.removes());
        removed.extend(state.newest.iter().filter_map(of_removals));
        let comments = |event: &&Event| of_removals(event).is_none();
        let comments: Vec<&Event> = state.newest.iter().filter(comments).collect();
        let ids: Vec<CommentId> = comments.iter().copied().filter_map(id).collect();
        // Rising: what two logs have is shown once.
        if !ids.is_sorted_by(|one, next| one < next) || ids.len() > newest_max {
            return Err(format!("the newest of {stream} are no such: {ids:?}"));
        }
        for event in &state.newest {
            same(logs, stream, event)?;
        }
        for (event, id) in comments.into_iter().zip(&ids) {
            let at = state.at.get(&event.region);
            if removed.contains(id) || log_of(logs, &event.region)?.removed(event, *id, at) {
                return Err(format!("{id} of {stream} is shown after its removal"));
            }
        }
        if let [log] = logs
            && let Some(at) = state.at.get(&log.region)
            && let Some(newest) = newest(log, stream, at, newest_max)
            && !ids.contains(&newest)
            // What took long on its way may be older than all that is shown.
            && (ids.len() < newest_max || ids.iter().any(|id| *id < newest))
        {
            return Err(format!("{newest} of {stream} is not in its state"));
        }
        let at = state.at.clone();
        self.views.insert(stream.clone(), View { at, removed });
        Ok(())
    }

    fn delivered(&mut self, logs: &[Log], stream: &StreamId, data: &[u8]) -> Result<(), Fault> {
        let delivery = DeliveryView::read(data).map_err(|error| error.to_string())?;
        let view = self.views.get_mut(stream);
        let view = view.ok_or_else(|| format!("a delivery of {stream} without a state"))?;
        let region: Region = delivery.region.parse().map_err(|_| "no region")?;
        let known = view.at.get(&region);
        let begin = Offset {
            epoch: delivery.epoch,
            seq: 0,
        };
        let known = known.unwrap_or(begin);
        let (from, to) = (delivery.from, delivery.to);
        if known.epoch != delivery.epoch || from != known.seq || to <= from {
            let epoch = delivery.epoch;
            return Err(format!(
                "{stream} stands at {known:?} of {region}, and gets {epoch}: ({from}, {to}]"
            ));
        }
        let log = log_of(logs, &region)?;
        let mut events = delivery.events.iter().peekable();
        for stored in log.range(stream, delivery.epoch, from, to) {
            match events.next_if(|event| event.seq == stored.offset.seq) {
                Some(event) if event.body == stored.body => self.events += 1,
                Some(event) => return Err(format!("another body at {} of {region}", event.seq)),
                None => {
                    let offset = stored.offset;
                    return Err(format!(
                        "{offset:?} of {region} is missing in ({from}, {to}] of {stream}"
                    ));
                }
            }
            view.removed.extend(stored.removes);
        }
        if let Some(event) = events.next() {
            return Err(format!(
                "{} of {region} was never stored in {stream}",
                event.seq
            ));
        }
        let end = Offset {
            epoch: delivery.epoch,
            seq: to,
        };
        view.at.advance(&region, end);
        Ok(())
    }

    fn replayed(&mut self, logs: &[Log], request: u64, replayed: &Replayed) -> Result<(), Fault> {
        let asked = self.replays.remove(&request);
        let asked = asked.ok_or_else(|| format!("replay {request} is answered twice"))?;
        if replayed.gap {
            self.gaps += 1;
            return Ok(());
        }
        self.replayed += 1;
        let mut expected = Vec::new();
        for (region, to) in &asked.range.to.0 {
            let from = asked.range.from.get(region).map_or(0, |from| from.seq);
            let log = log_of(logs, region)?;
            let events = log.range(&asked.stream, to.epoch, from, to.seq);
            expected.extend(events.map(|it| (it.id, log.event(it))));
        }
        expected.sort_by_key(|(id, event)| (*id, event.region.clone()));
        let mut brought: Vec<(CommentId, Event)> = (replayed.events.iter())
            .filter_map(|event| Some((id(event)?, event.clone())))
            .collect();
        if !brought.is_sorted_by_key(|(id, _)| *id) {
            return Err(format!("replay {request} is not sorted"));
        }
        brought.sort_by_key(|(id, event)| (*id, event.region.clone()));
        if brought != expected {
            let of = |all: &[(CommentId, Event)]| -> Vec<u64> {
                all.iter().map(|it| it.1.seq).collect()
            };
            let (brought, expected) = (of(&brought), of(&expected));
            return Err(format!(
                "replay {asked:?} brings {brought:?}, not {expected:?}"
            ));
        }
        Ok(())
    }

    fn published(
        &mut self,
        now_ms: u64,
        logs: &[Log],
        request: u64,
        outcome: Outcome,
    ) -> Result<(), Fault> {
        let asked = self.publications.get_mut(&request);
        let asked = asked.ok_or_else(|| format!("publication {request} was never asked for"))?;
        if asked.answer.is_some() {
            return Err(format!("publication {request} has two outcomes"));
        }
        if let Outcome::Stored { id, .. } = &outcome {
            let key = asked.publication.key;
            let stored = |log: &Log| log.ever.iter().any(|it| it.key == key && it.id == *id);
            if !logs.iter().any(stored) {
                return Err(format!(
                    "publication {request} is said to be stored as {id}"
                ));
            }
        }
        asked.answer = Some((now_ms, outcome));
        Ok(())
    }

    /// What is not there yet of what the logs hold.
    pub(crate) fn lacks(&self, logs: &[Log], exist: &[StreamId]) -> Option<Fault> {
        for stream in &self.wants {
            if !exist.contains(stream) {
                if !self.unknown.contains(stream) {
                    return Some(format!("{stream} is not said to be unknown"));
                }
                continue;
            }
            let Some(view) = self.views.get(stream) else {
                return Some(format!("{stream} has no state"));
            };
            for log in logs {
                let last = log.last_of(stream);
                let at = view.at.get(&log.region);
                let there = at.is_some_and(|at| at.epoch == log.epoch && at.seq >= last);
                if !there && (last > 0 || at.is_some()) {
                    let (region, epoch) = (&log.region, log.epoch);
                    return Some(format!(
                        "{stream} stands at {at:?} of {region}, whose log {epoch} goes to {last}"
                    ));
                }
            }
        }
        None
    }

    /// Requests that had no answer within their time: that of publications and that of replays.
    pub(crate) fn unanswered(&self, now_ms: u64, ms: [u64; 2]) -> Option<Fault> {
        let late = |asked: &Asked| {
            let answered_ms = asked.answer.as_ref().map_or(now_ms, |(at_ms, _)| *at_ms);
            answered_ms > asked.at_ms + ms[0]
        };
        let publication = self.publications.iter().find(|(_, it)| late(it));
        if let Some((request, asked)) = publication {
            return Some(format!("publication {request} has no outcome: {asked:?}"));
        }
        let late = |asked: &Replay| now_ms > asked.at_ms + ms[1];
        let replay = self.replays.iter().find(|(_, it)| late(it));
        replay.map(|(request, asked)| format!("replay {request} has no answer: {asked:?}"))
    }
}

fn id(event: &Event) -> Option<CommentId> {
    event.envelope().map(|envelope| envelope.id)
}

/// Of the last comments before `at` that are not taken away, the one with the highest id. Of a log that was made anew
/// nothing can be said: comments of its lives before may have higher ids.
fn newest(log: &Log, stream: &StreamId, at: Offset, max: usize) -> Option<CommentId> {
    let of_before = |it: &Stored| it.stream == *stream && it.offset.epoch != at.epoch;
    if log.ever.iter().any(of_before) {
        return None;
    }
    let gone = |id: CommentId| log.ever.iter().any(|it| it.removes == Some(id));
    let all: Vec<&Stored> = log.range(stream, at.epoch, 0, at.seq).collect();
    let comments = all.iter().rev().filter(|it| it.removes.is_none());
    let there = comments.take(max.min(NEWEST_KEPT)).map(|it| it.id);
    there.filter(|id| !gone(*id)).max()
}

fn log_of<'a>(logs: &'a [Log], region: &Region) -> Result<&'a Log, Fault> {
    let log = logs.iter().find(|log| log.region == *region);
    log.ok_or_else(|| format!("there is no region {region}"))
}

/// An event is as it was stored.
fn same(logs: &[Log], stream: &StreamId, event: &Event) -> Result<(), Fault> {
    let log = log_of(logs, &event.region)?;
    let mut stored = log.range(stream, event.epoch, event.seq.saturating_sub(1), event.seq);
    if stored.next().is_some_and(|it| it.body == event.body) {
        return Ok(());
    }
    Err(format!(
        "{} of {} was never stored in {stream}",
        event.seq, event.region
    ))
}
