//! How far one region's log is read and forwarded.

use chorus_protocol::gap::{Heard, Tracker};
use chorus_protocol::{Event, Offset};

use super::attempt::Attempt;

/// Live messages kept while a hole is read from the log; beyond it the highest is dropped and read later.
const WAITING_MAX: usize = 5_000;

pub(super) struct Reading {
    tracker: Tracker<Event>,
    forwarded: u64,
    /// The last sequence heard of.
    pub(super) heard: u64,
    /// The log begins after this, where it was found to begin after a hole.
    pub(super) begin: u64,
    pub(super) attempt: Attempt,
    /// Of the read under way.
    pub(super) ticket: u64,
}

impl Reading {
    pub(super) fn new(at: Offset) -> Self {
        Self {
            tracker: Tracker::new(at.epoch, at.seq, WAITING_MAX),
            forwarded: at.seq,
            heard: at.seq,
            begin: 0,
            attempt: Attempt::default(),
            ticket: 0,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.tracker.epoch()
    }

    pub(super) fn forwarded(&self) -> Offset {
        Offset {
            epoch: self.tracker.epoch(),
            seq: self.forwarded,
        }
    }

    /// True when something before it is missing.
    pub(super) fn hear(&mut self, previous: u64, event: Event) -> bool {
        // Of a message that the log no longer holds it says that none came before.
        let known = if event.seq > self.heard {
            self.heard
        } else {
            0
        };
        self.heard = self.heard.max(event.seq);
        let from = previous.max(known);
        self.tracker.hear(from, event.seq, event) == Heard::Hole
    }

    /// The log goes up to here: true when that was not known.
    pub(super) fn last(&mut self, last: u64) -> bool {
        self.heard = self.heard.max(last);
        self.tracker.last(last)
    }

    /// After which sequence the log must be read now, when it must.
    pub(super) fn wants(&mut self, now_ms: u64) -> Option<u64> {
        if !self.tracker.has_hole() || !self.attempt.start(now_ms) {
            return None;
        }
        self.tracker.wants()
    }

    /// Returns how many were missing.
    pub(super) fn read(&mut self, events: Vec<Event>, complete: bool) -> usize {
        self.attempt.succeeded();
        let found = events.into_iter().map(|event| (event.seq, event));
        self.tracker.read(found, complete)
    }

    pub(super) fn not_read(&mut self, now_ms: u64, jitter: u64) {
        self.attempt.failed(now_ms, jitter);
        self.tracker.not_read();
    }

    /// When [`Reading::wants`] has something to do.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.attempt.due_ms().filter(|_| self.tracker.has_hole())
    }

    /// Puts what may be forwarded now into `events`: all of `(from, to]`.
    pub(super) fn take(&mut self, events: &mut Vec<Event>) -> Option<(u64, u64)> {
        let to = self.tracker.at();
        if self.forwarded == to {
            return None;
        }
        let from = std::mem::replace(&mut self.forwarded, to);
        events.extend(self.tracker.drain().map(|step| step.payload));
        Some((from, to))
    }
}
