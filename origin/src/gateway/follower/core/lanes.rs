//! What every lane gets.

use std::ops::Range;

use chorus_protocol::Position;

use super::attempt::Attempt;
use super::catch_up::{CatchUp, Found};
use super::frame::{Frame, encode};
use super::lane::{Behind, Fits, Lane, PENDING_MAX, Phase, Way};
use super::{Answer, Core, LaneId, Out, Read, Reader, Snapshot, Stage, ToLane};

impl Core {
    /// A PoP holds the stream by a new lane; `have` is what it has already. Answered by [`ToLane::Answer`].
    pub fn hold(&mut self, lane: LaneId, have: Option<Position>) {
        self.lanes.insert(lane, Lane::new(have));
        self.idle_since_ms = None;
    }

    /// The lane is gone.
    pub fn release(&mut self, now_ms: u64, lane: LaneId) {
        if self.lanes.remove(&lane).is_some() && self.lanes.is_empty() {
            self.idle_since_ms = Some(now_ms);
        }
    }

    /// Of what [`Out::deliveries`] said, `refused` was not taken: there is no room. A queue of its own is to be emptied and
    /// ends; [`Core::drained`] says when that is done.
    pub fn full(&mut self, now_ms: u64, lane: LaneId, refused: &[Frame]) {
        let Some(lane) = self.lanes.get_mut(&lane) else {
            return;
        };
        self.counts.lagged += 1;
        lane.give_back(refused);
        match lane.way {
            Way::Quiet => {
                lane.way = Way::Own { open: false };
                lane.phase = Phase::Behind(Behind::new(CatchUp::nothing(), refused.to_vec()));
                self.activity.crowded(now_ms);
            }
            Way::Own { .. } => {
                lane.way = Way::Own { open: false };
                lane.phase = Phase::Lagging;
            }
        }
    }

    /// The queue of a lane that was full is empty: all of it was written.
    pub fn drained(&mut self, lane: LaneId) {
        if let Some(lane) = self.lanes.get_mut(&lane)
            && matches!(lane.phase, Phase::Lagging)
        {
            lane.phase = Phase::Undecided;
        }
    }

    /// What is forwarded has changed under the lanes.
    pub(super) fn decide_again(&mut self) {
        for lane in self.lanes.values_mut() {
            if !matches!(lane.phase, Phase::Lagging) {
                lane.phase = Phase::Undecided;
            }
        }
    }

    /// A lane's read of the log was answered.
    pub(super) fn lane_read(&mut self, now_ms: u64, id: LaneId, read: &Read, found: Option<Found>) {
        let jitter = self.jitter();
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let Phase::Behind(behind) = &mut lane.phase else {
            return;
        };
        if behind.ticket != read.ticket {
            return;
        }
        let Some(found) = found else {
            return behind.attempt.failed(now_ms, jitter);
        };
        behind.attempt = Attempt::default();
        if behind.catch_up.read(found).is_err() {
            // Decided anew it would be read anew: this is the answer.
            lane.phase = Phase::Undecided;
            self.gaps.push(id);
        } else if let Some((region, end)) = behind.catch_up.short() {
            self.mirrors_end.insert(region.clone(), *end);
        }
    }

    /// How the stream stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            at: self.position(),
            newest: self.newest.events(),
            comment_count: self.comment_count,
            reactions: self.totals.sums(),
            viewer_count: self.viewers.sum(),
        }
    }

    fn position(&self) -> Position {
        let readings = self.readings.iter();
        Position(
            readings
                .map(|(region, reading)| (region.clone(), reading.forwarded()))
                .collect(),
        )
    }

    /// What lanes can be brought to: of a region that is away what its mirror was found to have.
    fn within_reach(&self) -> Position {
        let mut at = self.position();
        for (region, end) in &self.mirrors_end {
            if let Some(at) = at.0.get_mut(region) {
                at.seq = at.seq.min(*end);
            }
        }
        at
    }

    /// Hands the frames of `new` to the lanes, then sees to those that do not follow.
    pub(super) fn flush_lanes(&mut self, now_ms: u64, new: &Range<usize>, out: &mut Out) {
        let mut lanes = std::mem::take(&mut self.lanes);
        let calm = self.activity.is_calm(now_ms);
        self.lanes_due_ms = None;
        for (id, lane) in &mut lanes {
            match &mut lane.phase {
                Phase::Following => {
                    if calm && lane.way == (Way::Own { open: true }) {
                        lane.way = Way::Quiet;
                        out.lanes.push((*id, ToLane::Quiet));
                    }
                    if self.activity.is_busy() {
                        open(*id, lane, out);
                    }
                    if !deliver(*id, lane, new.clone(), out) {
                        lane.phase = Phase::Undecided;
                    }
                }
                Phase::Behind(behind) => {
                    if behind.pending.len() + new.len() > PENDING_MAX {
                        behind.pending.clear();
                    }
                    behind
                        .pending
                        .extend_from_slice(out.frames.get(new.clone()).unwrap_or_default());
                }
                Phase::Undecided | Phase::Lagging => {}
            }
            if self.stage == Stage::Ready {
                while self.progress(now_ms, *id, lane, out) {}
            }
            let due_ms = match &lane.phase {
                Phase::Following if matches!(lane.way, Way::Own { .. }) => {
                    Some(self.activity.look_at_ms()).filter(|at| *at > now_ms)
                }
                Phase::Behind(behind) => behind.attempt.due_ms(),
                Phase::Undecided | Phase::Following | Phase::Lagging => None,
            };
            self.lanes_due_ms = [self.lanes_due_ms, due_ms].into_iter().flatten().min();
        }
        self.gaps.clear();
        self.lanes = lanes;
    }

    /// Decides about a lane, or takes it a step further; true when there may be another.
    fn progress(&mut self, now_ms: u64, id: LaneId, lane: &mut Lane, out: &mut Out) -> bool {
        match &mut lane.phase {
            Phase::Undecided => {
                let gap = self.gaps.contains(&id);
                self.decide(id, lane, gap, out);
                true
            }
            Phase::Behind(behind) => match behind.catch_up.wants() {
                Some((region, (after, to), max)) => {
                    if behind.attempt.start(now_ms) {
                        self.tickets += 1;
                        behind.ticket = self.tickets;
                        out.reads.push(Read {
                            ticket: self.tickets,
                            reader: Reader::Lane(id),
                            region: region.clone(),
                            after,
                            to,
                            max,
                        });
                    }
                    false
                }
                None => {
                    caught_up(id, lane, out);
                    true
                }
            },
            Phase::Following | Phase::Lagging => false,
        }
    }

    fn decide(&mut self, id: LaneId, lane: &mut Lane, gap: bool, out: &mut Out) {
        let at = self.position();
        let caught = match &lane.at {
            None => {
                lane.phase = Phase::Following;
                lane.at = Some(at);
                let snapshot = Box::new(self.snapshot());
                self.answer(id, lane, Answer::Fresh(snapshot), out);
                return;
            }
            Some(_) if gap => None,
            Some(have) => {
                let (to, max) = (self.within_reach(), self.bounds.resume_max);
                CatchUp::new(have, &to, &self.regions, max).ok()
            }
        };
        match caught {
            None => {
                self.gaps.retain(|of| *of != id);
                lane.phase = Phase::Following;
                lane.at = Some(at);
                let snapshot = Box::new(self.snapshot());
                self.answer(id, lane, Answer::Gap(snapshot), out);
            }
            Some(caught) if caught.wants().is_some() => {
                lane.phase = Phase::Behind(Behind::new(caught, Vec::new()));
            }
            Some(_) => {
                lane.phase = Phase::Following;
                resumed(id, lane, out);
                if self.activity.is_busy() {
                    open(id, lane, out);
                }
            }
        }
    }

    /// Tells the PoP a state; what waited for it in a queue is obsolete.
    fn answer(&self, id: LaneId, lane: &mut Lane, answer: Answer, out: &mut Out) {
        lane.answered = true;
        out.lanes.push((id, ToLane::Answer(answer)));
        match lane.way {
            Way::Own { .. } => {
                lane.way = Way::Own { open: false };
                open(id, lane, out);
            }
            Way::Quiet if self.activity.is_busy() => open(id, lane, out),
            Way::Quiet => {}
        }
    }
}

/// Answers a hold that goes on, and opens the queue that a lane lacks.
fn resumed(id: LaneId, lane: &mut Lane, out: &mut Out) {
    if !std::mem::replace(&mut lane.answered, true) {
        out.lanes.push((id, ToLane::Answer(Answer::Resumed)));
    }
    if matches!(lane.way, Way::Own { .. }) {
        open(id, lane, out);
    }
}

/// From here on by a queue of its own.
fn open(id: LaneId, lane: &mut Lane, out: &mut Out) {
    if lane.way != (Way::Own { open: true }) {
        lane.way = Way::Own { open: true };
        out.lanes.push((id, ToLane::Own));
    }
}

/// Hands frames over; false when one does not follow.
fn deliver(id: LaneId, lane: &mut Lane, frames: Range<usize>, out: &mut Out) -> bool {
    let Out {
        frames: all,
        deliveries,
        ..
    } = out;
    let mut begin = frames.start;
    for index in frames.clone() {
        let fits = all.get(index).map_or(Fits::Old, |frame| lane.take(frame));
        if fits == Fits::Next {
            continue;
        }
        if begin < index {
            deliveries.push((id, begin..index));
        }
        begin = index + 1;
        if fits == Fits::Not {
            return false;
        }
    }
    if begin < frames.end {
        deliveries.push((id, begin..frames.end));
    }
    true
}

/// All was read: hands it over and what waited for it.
fn caught_up(id: LaneId, lane: &mut Lane, out: &mut Out) {
    let phase = std::mem::replace(&mut lane.phase, Phase::Undecided);
    let Phase::Behind(behind) = phase else { return };
    resumed(id, lane, out);
    let begin = out.frames.len();
    for missed in behind.catch_up.into_missed() {
        let range = (missed.from, missed.to);
        encode(
            &missed.region,
            missed.epoch,
            range,
            &missed.events,
            &mut out.frames,
        );
    }
    out.frames.extend(behind.pending);
    // What does not follow, because more was dropped, is read next.
    deliver(id, lane, begin..out.frames.len(), out);
}
