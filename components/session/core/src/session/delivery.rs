//! What the logs say: new events, holes in them, and what fills the holes.

use chorus_protocol::session::{DeliveryView, EventView, ReplayRange};
use chorus_protocol::{Offset, Position, Region};
use serde::Deserialize;
use serde_bytes::ByteBuf;

use super::Session;
use crate::io::{ConnectionId, Output, RequestId, TopicId};
use crate::stream::decided::{Decided, Told};
use crate::stream::resume::{Hole, REPLAY_MS_MAX, STASH_MAX};

/// A `Replayed` without a copy of its texts.
#[derive(Deserialize)]
struct ReplayedView<'a> {
    gap: bool,
    #[serde(borrow)]
    events: Vec<EventView<'a>>,
}

impl Session {
    pub(crate) fn delivered(&mut self, topic: TopicId, data: &[u8], out: &mut Vec<Output>) {
        let Some(stream) = self.streams.get_mut(topic) else {
            return;
        };
        let (members, Some(live)) = (stream.members, stream.live.as_mut()) else {
            return;
        };
        if live.lost {
            return;
        }
        let Some((delivery, region)) = DeliveryView::read(data)
            .ok()
            .and_then(|d| live.region(d.region).map(|region| (d, region)))
        else {
            // What it brought is missing from now on, which the next one shows.
            self.stats.deliveries_malformed += 1;
            return;
        };
        if let Some(hole) = live.holes.iter_mut().find(|hole| hole.region == region) {
            hole.stash.push(ByteBuf::from(data));
            if hole.stash.len() > STASH_MAX {
                let request = hole.request;
                self.hole_answered(topic, request, None, out);
            }
            return;
        }
        let Some(known) = live.stands(&region, delivery.epoch) else {
            return;
        };
        if delivery.from > known {
            self.open_hole(
                topic,
                region,
                delivery.epoch,
                known,
                delivery.from,
                data,
                out,
            );
            return;
        }
        if delivery.to <= known {
            return;
        }
        let early = live.pending.len();
        let mut decided = Vec::new();
        for event in delivery.events.iter().filter(|event| event.seq > known) {
            live.take(
                &region,
                event,
                members,
                self.now,
                &mut self.stats,
                &mut decided,
            );
        }
        if decided.is_empty() {
            live.reach(&region, delivery.epoch, delivery.to);
        } else {
            let to = Offset {
                epoch: delivery.epoch,
                seq: delivery.to,
            };
            self.decide_all(topic, &region, to, early, decided, out);
        }
        self.streams.touch(topic);
        let Some(live) = self.streams.live(topic) else {
            return;
        };
        let frame_max = self.config.values.batching.comments_max as usize;
        if live.pending.len() >= frame_max.max(1) {
            self.flush_stream(topic, out);
        }
    }

    /// Carries out the decisions of a delivery that reaches `to`. `early` comments were pending before it: they are shown
    /// first, with a place before the decisions, so that who goes away in between hears of them when it comes back.
    pub(super) fn decide_all(
        &mut self,
        topic: TopicId,
        region: &Region,
        to: Offset,
        early: usize,
        decided: Vec<Decided>,
        out: &mut Vec<Output>,
    ) {
        let Some(live) = self.streams.live_mut(topic) else {
            return;
        };
        let log = (region, to.epoch);
        let (early, told) = live.decide(log, decided, early, &mut self.stats);
        if !told.is_empty() {
            self.flush_first(topic, early, out);
        }
        if let Some(live) = self.streams.live_mut(topic) {
            live.reach(region, to.epoch, to.seq);
        }
        self.tell_decided(topic, told, out);
    }

    /// Tells every viewer of decisions.
    pub(crate) fn tell_decided(&self, topic: TopicId, told: Told, out: &mut Vec<Output>) {
        if let Some(stream) = self.streams.get(topic) {
            for message in told.messages(&stream.id) {
                self.tell_all(topic, &message, out);
            }
        }
    }

    /// Tells some viewers of decisions.
    pub(crate) fn tell_some(
        &self,
        topic: TopicId,
        to: &[ConnectionId],
        told: Told,
        out: &mut Vec<Output>,
    ) {
        let Some(stream) = self.streams.get(topic).filter(|_| !to.is_empty()) else {
            return;
        };
        for message in told.messages(&stream.id) {
            to.iter()
                .for_each(|&connection| self.tell(connection, &message, out));
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a hole is all of these")]
    fn open_hole(
        &mut self,
        topic: TopicId,
        region: Region,
        epoch: u64,
        from: u64,
        to: u64,
        data: &[u8],
        out: &mut Vec<Output>,
    ) {
        let Some(live) = self.streams.live_mut(topic) else {
            return;
        };
        self.stats.holes += 1;
        let request = self.numbers.request();
        let place = |seq| Position([(region.clone(), Offset { epoch, seq })].into());
        let range = ReplayRange {
            from: place(from),
            to: place(to),
            events_max: self.config.values.limits.resume_max,
        };
        out.push(Output::Replay {
            request,
            topic,
            range: rmp_serde::to_vec_named(&range).unwrap_or_default(),
        });
        let until = self.now.plus(REPLAY_MS_MAX);
        let stash = vec![ByteBuf::from(data)];
        live.holes.push(Hole {
            request,
            region,
            epoch,
            to,
            stash,
            until,
        });
        self.streams.ask(request, topic);
    }

    pub(crate) fn replayed(&mut self, request: RequestId, data: &[u8], out: &mut Vec<Output>) {
        let Some(topic) = self.streams.take_asked(request) else {
            return;
        };
        let read = rmp_serde::from_slice::<ReplayedView<'_>>(data).ok();
        if read.is_none() {
            self.stats.deliveries_malformed += 1;
        }
        let events = read
            .filter(|replayed| !replayed.gap)
            .map(|replayed| replayed.events);
        self.answered(topic, request, events.as_deref(), out);
    }

    /// The logs' answer to whoever asked; `None` is a gap.
    pub(crate) fn answered(
        &mut self,
        topic: TopicId,
        request: RequestId,
        events: Option<&[EventView<'_>]>,
        out: &mut Vec<Output>,
    ) {
        let live = self.streams.live(topic);
        if live.is_some_and(|live| live.holes.iter().any(|hole| hole.request == request)) {
            self.hole_answered(topic, request, events, out);
        } else {
            self.job_answered(topic, request, events, out);
        }
    }

    fn hole_answered(
        &mut self,
        topic: TopicId,
        request: RequestId,
        events: Option<&[EventView<'_>]>,
        out: &mut Vec<Output>,
    ) {
        self.streams.take_asked(request);
        let Some(stream) = self.streams.get_mut(topic) else {
            return;
        };
        let (members, Some(live)) = (stream.members, stream.live.as_mut()) else {
            return;
        };
        let Some(index) = live.holes.iter().position(|hole| hole.request == request) else {
            return;
        };
        let hole = live.holes.remove(index);
        let end = Offset {
            epoch: hole.epoch,
            seq: hole.to,
        };
        if let Some(events) = events {
            let mut events: Vec<&EventView<'_>> = events
                .iter()
                .filter(|event| event.region == hole.region.as_str())
                .collect();
            events.sort_by_key(|event| event.seq);
            let known = live.stands(&hole.region, hole.epoch).unwrap_or(hole.to);
            let early = live.pending.len();
            let mut decided = Vec::new();
            for event in events
                .into_iter()
                .filter(|event| event.seq > known && event.seq <= hole.to)
            {
                live.take(
                    &hole.region,
                    event,
                    members,
                    self.now,
                    &mut self.stats,
                    &mut decided,
                );
            }
            if decided.is_empty() {
                live.reach(&hole.region, hole.epoch, hole.to);
            } else {
                self.decide_all(topic, &hole.region, end, early, decided, out);
            }
        } else {
            // It cannot be filled, and what was decided in it about comments of any log is not known here.
            self.stats.holes_lost += 1;
            self.flush_stream(topic, out);
            self.state_lost(topic, out);
            return;
        }
        self.streams.touch(topic);
        for data in hole.stash {
            self.delivered(topic, &data, out);
        }
    }
}
