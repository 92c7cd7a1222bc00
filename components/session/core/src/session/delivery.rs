//! What the logs say: new items, holes in them, and what fills the holes.

use chorus_protocol::session::ReplayRange;
use chorus_protocol::{Offset, Position, Region};
use serde::Deserialize;
use serde_bytes::ByteBuf;

use super::Session;
use crate::io::{Output, RequestId, TopicId};
use crate::stream::delivered::{DeliveryView, ItemView};
use crate::stream::resume::{Hole, REPLAY_MS_MAX, STASH_MAX};

/// A `Replayed` without a copy of its texts.
#[derive(Deserialize)]
struct ReplayedView<'a> {
    gap: bool,
    #[serde(borrow)]
    items: Vec<ItemView<'a>>,
}

impl Session {
    pub(crate) fn delivered(&mut self, topic: TopicId, data: &[u8], out: &mut Vec<Output>) {
        let Some(stream) = self.streams.get_mut(&topic) else {
            return;
        };
        let (members, Some(live)) = (stream.members, stream.live.as_mut()) else {
            return;
        };
        let Some((delivery, region)) =
            DeliveryView::read(data).and_then(|d| live.region(d.region).map(|region| (d, region)))
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
        for item in delivery.items.iter().filter(|item| item.seq > known) {
            live.take(&region, item, members, self.now, &mut self.stats);
        }
        live.reach(&region, delivery.epoch, delivery.to);
        self.touched.insert(topic);
        let frame_max = self.config.values.batching.comments_max as usize;
        if live.pending.len() >= frame_max.max(1) {
            self.flush_stream(topic, out);
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
        let Some(live) = self
            .streams
            .get_mut(&topic)
            .and_then(|stream| stream.live.as_mut())
        else {
            return;
        };
        self.stats.holes += 1;
        let request = self.next_request;
        self.next_request += 1;
        let place = |seq| Position([(region.clone(), Offset { epoch, seq })].into());
        let range = ReplayRange {
            from: place(from),
            to: place(to),
            items_max: self.config.values.limits.resume_max,
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
        self.asked.insert(request, topic);
        self.touched.insert(topic);
    }

    pub(crate) fn replayed(&mut self, request: RequestId, data: &[u8], out: &mut Vec<Output>) {
        let Some(topic) = self.asked.remove(&request) else {
            return;
        };
        let read = rmp_serde::from_slice::<ReplayedView<'_>>(data).ok();
        if read.is_none() {
            self.stats.deliveries_malformed += 1;
        }
        let items = read
            .filter(|replayed| !replayed.gap)
            .map(|replayed| replayed.items);
        self.answered(topic, request, items.as_deref(), out);
    }

    /// The logs' answer to whoever asked; `None` is a gap.
    pub(crate) fn answered(
        &mut self,
        topic: TopicId,
        request: RequestId,
        items: Option<&[ItemView<'_>]>,
        out: &mut Vec<Output>,
    ) {
        let live = self
            .streams
            .get(&topic)
            .and_then(|stream| stream.live.as_ref());
        if live.is_some_and(|live| live.holes.iter().any(|hole| hole.request == request)) {
            self.hole_answered(topic, request, items, out);
        } else {
            self.job_answered(topic, request, items, out);
        }
    }

    fn hole_answered(
        &mut self,
        topic: TopicId,
        request: RequestId,
        items: Option<&[ItemView<'_>]>,
        out: &mut Vec<Output>,
    ) {
        self.asked.remove(&request);
        let Some(stream) = self.streams.get_mut(&topic) else {
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
        if let Some(items) = items {
            let mut items: Vec<&ItemView<'_>> = items
                .iter()
                .filter(|item| item.region == hole.region.as_str())
                .collect();
            items.sort_by_key(|item| item.seq);
            let known = live.stands(&hole.region, hole.epoch).unwrap_or(hole.to);
            for item in items
                .into_iter()
                .filter(|item| item.seq > known && item.seq <= hole.to)
            {
                live.take(&hole.region, item, members, self.now, &mut self.stats);
            }
            live.reach(&hole.region, hole.epoch, hole.to);
        } else {
            // It cannot be filled: what is behind it is shown only to who is told of the gap.
            self.stats.holes_lost += 1;
            self.flush_stream(topic, out);
            self.close_shown(topic, out);
            if let Some(live) = self
                .streams
                .get_mut(&topic)
                .and_then(|stream| stream.live.as_mut())
            {
                live.recent.floor.advance(&hole.region, end);
                live.reach(&hole.region, hole.epoch, hole.to);
            }
        }
        self.touched.insert(topic);
        for data in hole.stash {
            self.delivered(topic, &data, out);
        }
    }
}
