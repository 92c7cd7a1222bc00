//! One lane: where it stands, by which way its deliveries go, and what it waits for.

use chorus_protocol::Position;

use super::attempt::Attempt;
use super::catch_up::CatchUp;
use super::frame::Frame;

/// Frames that wait for a lane that catches up; at the bound they are dropped and read from the log later.
pub(super) const PENDING_MAX: usize = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Quiet,
    /// `open`: there is a queue.
    Own {
        open: bool,
    },
}

#[derive(Debug)]
pub(super) enum Phase {
    /// It is decided what becomes of it with the next flush, once the follower started.
    Undecided,
    /// It catches up.
    Behind(Box<Behind>),
    /// It gets what is forwarded.
    Following,
    /// Its queue was full and is emptied.
    Lagging,
}

#[derive(Debug)]
pub(super) struct Behind {
    pub(super) catch_up: CatchUp,
    /// Forwarded in the meantime.
    pub(super) pending: Vec<Frame>,
    pub(super) attempt: Attempt,
    pub(super) ticket: u64,
}

impl Behind {
    pub(super) fn new(catch_up: CatchUp, pending: Vec<Frame>) -> Box<Self> {
        Box::new(Self {
            catch_up,
            pending,
            attempt: Attempt::default(),
            ticket: 0,
        })
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    /// Where the lane stands: everything up to here was handed over or is known to the PoP. `None`: it knows nothing.
    pub(super) at: Option<Position>,
    /// Its hold was answered.
    pub(super) answered: bool,
    pub(super) way: Way,
    pub(super) phase: Phase,
}

/// What a frame is to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fits {
    /// All of it is known.
    Old,
    Next,
    /// Something before it is missing, or it is of another epoch.
    Not,
}

impl Lane {
    pub(super) fn new(have: Option<Position>) -> Self {
        Self {
            at: have,
            answered: false,
            way: Way::Quiet,
            phase: Phase::Undecided,
        }
    }

    /// Hands a frame over, if it follows.
    pub(super) fn take(&mut self, frame: &Frame) -> Fits {
        let Some(at) = &mut self.at else {
            return Fits::Not;
        };
        let Some(known) = at.0.get_mut(&frame.region) else {
            if frame.from > 0 {
                return Fits::Not;
            }
            at.0.insert(frame.region.clone(), frame.end());
            return Fits::Next;
        };
        if known.epoch != frame.epoch || frame.from > known.seq {
            Fits::Not
        } else if frame.to <= known.seq {
            Fits::Old
        } else {
            known.seq = frame.to;
            Fits::Next
        }
    }

    /// These were not handed over.
    pub(super) fn give_back(&mut self, frames: &[Frame]) {
        let Some(at) = &mut self.at else { return };
        for frame in frames.iter().rev() {
            let mut start = frame.end();
            start.seq = frame.from;
            at.0.insert(frame.region.clone(), start);
        }
    }
}
