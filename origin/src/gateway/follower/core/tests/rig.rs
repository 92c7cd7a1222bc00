//! A core with logs in memory and lanes that check what they get.

use std::collections::BTreeMap;

use bytes::Bytes;
use chorus_protocol::backhaul::read_frame;
use chorus_protocol::event::{AuthorRole, kind};
use chorus_protocol::session::Delivery;
use chorus_protocol::{CommentId, Envelope, Event, Offset, Position, Region};

use super::super::*;

pub(super) const OWN: &str = "own";
pub(super) const PEER: &str = "peer";
pub(super) const BOUNDS: Bounds = Bounds {
    newest_max: 50,
    resume_max: 1_500,
};

pub(super) fn position(of: &[(&str, u64, u64)]) -> Position {
    let mut position = Position::default();
    for (region, epoch, seq) in of {
        let (epoch, seq) = (*epoch, *seq);
        position.advance(&region.parse().expect("a region"), Offset { epoch, seq });
    }
    position
}

pub(super) struct Rig {
    pub(super) core: Core,
    pub(super) now_ms: u64,
    /// All that was ever written, by region.
    pub(super) logs: BTreeMap<Region, Vec<Event>>,
    pub(super) epochs: BTreeMap<Region, u64>,
    /// The oldest sequence that logs still hold.
    pub(super) first_seq: u64,
    /// Where the mirror of a region that is away ends.
    mirror_end: u64,
    regions: Regions,
    heard: BTreeMap<Region, u64>,
    pub(super) history_asked: bool,
    pub(super) totals_asked: Vec<Region>,
    pub(super) reads: Vec<Read>,
    pub(super) to_lane: Vec<(LaneId, ToLane)>,
    /// By lane: 1 over its own, 0 over the quiet one, and the range.
    pub(super) got: BTreeMap<LaneId, Vec<(u8, u64, u64)>>,
    /// Where a PoP is that checks the order.
    pub(super) at: BTreeMap<LaneId, Position>,
    own: BTreeMap<LaneId, bool>,
    /// Deliveries of a flush that are still taken.
    pub(super) refuse_after: Option<usize>,
    pub(super) frames: usize,
    pub(super) datagrams: Vec<Bytes>,
    pub(super) reports: Vec<u64>,
    pub(super) counts: Counts,
    pub(super) end: bool,
}

impl Rig {
    /// With its own region.
    pub(super) fn new() -> Self {
        Self::with(&[OWN])
    }

    pub(super) fn with(regions: &[&str]) -> Self {
        let mut rig = Self {
            core: Core::new("demo".parse().expect("a stream"), BOUNDS, 1, 0),
            now_ms: 0,
            logs: BTreeMap::new(),
            epochs: BTreeMap::new(),
            first_seq: 1,
            mirror_end: u64::MAX,
            regions: Regions::new(),
            heard: BTreeMap::new(),
            history_asked: false,
            totals_asked: Vec::new(),
            reads: Vec::new(),
            to_lane: Vec::new(),
            got: BTreeMap::new(),
            at: BTreeMap::new(),
            own: BTreeMap::new(),
            refuse_after: None,
            frames: 0,
            datagrams: Vec::new(),
            reports: Vec::new(),
            counts: Counts::default(),
            end: false,
        };
        for region in regions {
            rig.stand(region, Some(1));
        }
        rig
    }

    pub(super) fn started() -> Self {
        Self::started_with(&[OWN])
    }

    pub(super) fn started_with(regions: &[&str]) -> Self {
        let mut rig = Self::with(regions);
        rig.flush();
        rig.answer_history();
        rig.answer_totals();
        rig.flush();
        rig
    }

    /// A region is known with this epoch, or away.
    pub(super) fn stand(&mut self, region: &str, epoch: Option<u64>) {
        let region: Region = region.parse().expect("a region");
        let standing = match epoch {
            Some(epoch) => {
                let before = self.epochs.insert(region.clone(), epoch);
                if before.is_some_and(|before| before != epoch) {
                    self.logs.remove(&region);
                }
                Standing::Known { epoch }
            }
            None => Standing::Away,
        };
        self.regions.insert(region, standing);
        self.core.regions(self.regions.clone());
    }

    /// A region is away, and its mirror has its log up to here.
    pub(super) fn stand_mirrored(&mut self, region: &str, end: u64) {
        self.mirror_end = end;
        let region: Region = region.parse().expect("a region");
        let epoch = self.epochs[&region];
        self.regions.insert(region, Standing::Mirrored { epoch });
        self.core.regions(self.regions.clone());
    }

    /// Writes so many comments.
    pub(super) fn write(&mut self, region: &str, count: u64) {
        let region: Region = region.parse().expect("a region");
        let epoch = self.epochs.get(&region).copied().unwrap_or(1);
        let log = self.logs.entry(region.clone()).or_default();
        for _ in 0..count {
            let seq = log.len() as u64 + 1;
            let envelope = Envelope {
                id: CommentId(seq),
                kind: kind::COMMENT,
                stream: "demo",
                author: "ann",
                role: AuthorRole::User,
                key: seq.into(),
                target: None,
                record: b"",
            };
            log.push(Event {
                region: region.clone(),
                epoch,
                seq,
                body: envelope.write(0, |_| {}),
            });
        }
    }

    pub(super) fn hear(&mut self, region: &str, seq: u64) {
        let region: Region = region.parse().expect("a region");
        let event = self.logs[&region][seq as usize - 1].clone();
        let previous = seq - 1;
        self.core.hear(Heard { event, previous });
    }

    /// The last sequence of a region's log as of now is this one.
    pub(super) fn tell_last(&mut self, region: &str, seq: u64) {
        let region: Region = region.parse().expect("a region");
        let epoch = self.epochs.get(&region).copied().unwrap_or(1);
        self.core.last(self.now_ms, region, Offset { epoch, seq });
    }

    /// Hears live what was not heard yet.
    pub(super) fn hear_all(&mut self, region: &str) {
        let name: Region = region.parse().expect("a region");
        let last = self.logs[&name].len() as u64;
        let heard = self.heard.insert(name, last).unwrap_or(0);
        for seq in heard + 1..=last {
            self.hear(region, seq);
        }
    }

    /// More than a hundred events at once.
    pub(super) fn make_busy(&mut self) {
        self.write(OWN, 101);
        self.hear_all(OWN);
        self.flush();
    }

    pub(super) fn hold(&mut self, lane: LaneId, have: Option<Position>) {
        self.own.remove(&lane);
        self.got.remove(&lane);
        self.at.remove(&lane);
        if let Some(have) = &have {
            self.at.insert(lane, have.clone());
        }
        self.core.hold(lane, have);
        self.flush();
    }

    /// Time passes, with what is due in between.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(due) = self.core.next().filter(|due| *due <= end) {
            if self.end {
                break;
            }
            assert!(due > self.now_ms, "due and not done");
            self.now_ms = due;
            self.flush();
        }
        self.now_ms = end;
        self.flush();
    }

    pub(super) fn flush(&mut self) {
        let mut out = Out::default();
        loop {
            self.core.flush(self.now_ms, &mut out);
            self.history_asked |= std::mem::take(&mut out.history);
            self.totals_asked.append(&mut out.totals);
            self.reads.append(&mut out.reads);
            self.datagrams.append(&mut out.datagrams);
            self.reports.extend(out.report.take());
            self.counts.forwarded += out.counts.forwarded;
            self.counts.holes += out.counts.holes;
            self.counts.repaired += out.counts.repaired;
            self.counts.tail_repairs += out.counts.tail_repairs;
            self.counts.lagged += out.counts.lagged;
            self.end |= out.end;
            for (id, to) in out.lanes.drain(..) {
                match &to {
                    ToLane::Answer(Answer::Fresh(snapshot) | Answer::Gap(snapshot)) => {
                        self.at.insert(id, snapshot.at.clone());
                    }
                    ToLane::Answer(Answer::Resumed) => {}
                    ToLane::Own | ToLane::Quiet => {
                        self.own.insert(id, to == ToLane::Own);
                    }
                }
                self.to_lane.push((id, to));
            }
            let mut refused: BTreeMap<LaneId, Vec<Frame>> = BTreeMap::new();
            for (id, range) in std::mem::take(&mut out.deliveries) {
                for frame in &out.frames[range] {
                    let room = self.refuse_after.is_none_or(|room| room > 0);
                    if !room || refused.contains_key(&id) {
                        refused.entry(id).or_default().push(frame.clone());
                        continue;
                    }
                    self.refuse_after = self.refuse_after.map(|room| room - 1);
                    self.deliver(id, frame);
                }
            }
            self.frames += out.frames.drain(..).count();
            for (id, frames) in &refused {
                self.core.full(self.now_ms, *id, frames);
            }
            if refused.is_empty() {
                return;
            }
            self.refuse_after = None;
        }
    }

    fn deliver(&mut self, id: LaneId, frame: &Frame) {
        let delivery: Delivery = read_frame(Frame::delivery(&frame.bytes)).expect("readable");
        assert_eq!((delivery.from, delivery.to), (frame.from, frame.to));
        let at = self.at.entry(id).or_default();
        let known = at.get(&delivery.region);
        assert!(known.is_none_or(|known| known.epoch == delivery.epoch));
        let known = known.map_or(0, |known| known.seq);
        assert!(delivery.from <= known, "a hole: {known} {frame:?}");
        let seqs: Vec<u64> = delivery.events.iter().map(|event| event.seq).collect();
        let all: Vec<u64> = (delivery.from + 1..=delivery.to).collect();
        assert_eq!(seqs, all, "all there is in the range");
        at.advance(&delivery.region, frame.end());
        let own = u8::from(self.own.get(&id) == Some(&true));
        let got = self.got.entry(id).or_default();
        got.push((own, delivery.from, delivery.to));
    }

    /// What a lane got since it was looked at.
    pub(super) fn delivered(&mut self, lane: LaneId) -> Vec<(u8, u64, u64)> {
        self.got.remove(&lane).unwrap_or_default()
    }

    /// What a lane was told since it was looked at.
    pub(super) fn told(&mut self, lane: LaneId) -> Vec<ToLane> {
        let (its, others) = std::mem::take(&mut self.to_lane)
            .into_iter()
            .partition(|(id, _)| *id == lane);
        self.to_lane = others;
        let its: Vec<(LaneId, ToLane)> = its;
        its.into_iter().map(|(_, to)| to).collect()
    }

    pub(super) fn fresh(&mut self, lane: LaneId) -> Snapshot {
        let told = self.told(lane);
        let Some(ToLane::Answer(Answer::Fresh(snapshot))) = told.first() else {
            panic!("{told:?}")
        };
        (**snapshot).clone()
    }

    /// Where a lane's PoP is in a region.
    pub(super) fn at(&self, lane: LaneId, region: &str) -> u64 {
        let region = region.parse().expect("a region");
        let at = self.at.get(&lane).and_then(|at| at.get(&region));
        at.map_or(0, |at| at.seq)
    }

    /// All that known regions have now.
    pub(super) fn answer_history(&mut self) {
        self.history_asked = false;
        let mut past = Past::default();
        for (region, standing) in &self.regions {
            let Some(epoch) = standing.epoch() else {
                continue;
            };
            let log = self.logs.get(region).map_or(&[][..], Vec::as_slice);
            let seq = log.len() as u64;
            past.at.advance(region, Offset { epoch, seq });
            past.comment_count += seq;
            let newest = log.iter().rev().take(BOUNDS.newest_max);
            past.comments
                .extend(newest.map(|event| (CommentId(event.seq), event.clone())));
        }
        self.core.history(self.now_ms, Some(past));
    }

    /// No region has any.
    pub(super) fn answer_totals(&mut self) {
        for region in std::mem::take(&mut self.totals_asked) {
            self.core
                .totals(self.now_ms, region, Some(Reactions::new()));
        }
    }

    pub(super) fn found(&self, read: &Read) -> Found {
        let log = self.logs.get(&read.region).map_or(&[][..], Vec::as_slice);
        let standing = self.regions.get(&read.region);
        let log = match standing {
            Some(Standing::Mirrored { .. }) => &log[..log.len().min(self.mirror_end as usize)],
            Some(Standing::Known { .. } | Standing::Away) | None => log,
        };
        let after = read.after.max(self.first_seq - 1);
        let rest = log.get(after as usize..).unwrap_or_default();
        Found {
            epoch: self.epochs[&read.region],
            first_seq: self.first_seq,
            last_seq: log.len() as u64,
            events: rest.iter().take(read.max).cloned().collect(),
            complete: rest.len() <= read.max,
        }
    }

    pub(super) fn answer_reads(&mut self) {
        for read in std::mem::take(&mut self.reads) {
            let found = self.found(&read);
            self.core.read(self.now_ms, &read, Some(found));
        }
    }
}
