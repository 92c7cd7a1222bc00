//! Events and totals in; what is due, out.

use std::ops::Range;

use bytes::Bytes;
use chorus_protocol::backhaul::{Datagram, write_bare};
use chorus_protocol::server::Reactions;
use chorus_protocol::{Offset, Region, StreamId};

use super::attempt::Attempt;
use super::catch_up::Found;
use super::frame::encode;
use super::{
    Core, Heard, LINGER_MS, Out, PopProcess, REPAIR_EVENTS_MAX, Read, Reader, SUSPECT_MS, Stage,
    Standing,
};

/// Reaction types in one datagram, so that it fits a packet.
const DATAGRAM_TYPES_MAX: usize = 20;

impl Core {
    /// Whether a region's own servers can be asked.
    fn answers(&self, region: &Region) -> bool {
        self.regions
            .get(region)
            .is_none_or(|standing| standing.is_known())
    }

    /// Takes a live event.
    pub fn hear(&mut self, heard: Heard) {
        let Heard { event, previous } = heard;
        match self.readings.get_mut(&event.region) {
            Some(reading) if reading.epoch() == event.epoch => {
                let hole = reading.hear(previous, event);
                self.counts.holes += u64::from(hole);
            }
            Some(_) | None => {
                // Its region's log appeared or was made anew. While the region is away its history cannot be read.
                let standing = self.regions.get(&event.region);
                self.history_wanted |= standing != Some(&Standing::Away);
                let known = (event.epoch, event.seq);
                let last = self.unfollowed.entry(event.region).or_insert(known);
                if last.0 != known.0 || last.1 < known.1 {
                    *last = known;
                }
            }
        }
    }

    /// The log's last sequence of this stream.
    pub fn last(&mut self, now_ms: u64, region: Region, last: Offset) {
        let reading = self.readings.get_mut(&region);
        let reading = reading.filter(|reading| reading.epoch() == last.epoch);
        let ahead = reading.is_some_and(|reading| {
            reading.heard = reading.heard.max(last.seq);
            reading.forwarded().seq < last.seq
        });
        // A history under way may have been read before this was written, and it is told once.
        if ahead || self.history_wanted {
            self.suspects.insert(region, last);
            self.suspect_at_ms.get_or_insert(now_ms + SUSPECT_MS);
        }
    }

    /// A read of the log was answered; `None`: it failed.
    pub fn read(&mut self, now_ms: u64, read: &Read, found: Option<Found>) {
        if let Reader::Lane(lane) = read.reader {
            return self.lane_read(now_ms, lane, read, found);
        }
        let jitter = self.jitter();
        let Some(reading) = self.readings.get_mut(&read.region) else {
            return;
        };
        if reading.ticket != read.ticket {
            return;
        }
        match found {
            Some(found) if found.epoch == reading.epoch() => {
                if found.first_seq > read.after + 1 {
                    // What it no longer holds may be of this stream: lanes are told a gap, with what the store has of it.
                    reading.begin = found.first_seq - 1;
                    self.history_wanted = true;
                    return reading.not_read(now_ms, jitter);
                }
                // The rest can be had when the region is back.
                let standing = self.regions.get(&read.region);
                let short = found.last_seq < read.to && standing.is_some_and(|it| !it.is_known());
                let missing = reading.read(found.events, found.complete && !short);
                self.counts.repaired += u64::from(missing > 0);
                if short {
                    reading.not_read(now_ms, jitter);
                }
            }
            Some(_) => {
                self.history_wanted = true;
                reading.not_read(now_ms, jitter);
            }
            None => reading.not_read(now_ms, jitter),
        }
    }

    /// A region's running total of a reaction.
    pub fn reaction(&mut self, region: Region, kind: String, total: u64) {
        self.totals.note(region, kind, total);
        self.tell_stale = true;
    }

    /// A PoP of this gateway counts so many viewers.
    pub fn viewing(&mut self, now_ms: u64, pop: PopProcess, viewers: u64) {
        self.viewers.here(pop, viewers, now_ms);
        self.tell_stale = true;
    }

    /// A PoP is gone.
    pub fn gone(&mut self, pop: &PopProcess) {
        self.viewers.gone(pop);
        self.tell_stale = true;
    }

    /// Another gateway counts so many viewers.
    pub fn elsewhere(&mut self, now_ms: u64, gateway: String, viewers: u64) {
        self.viewers.elsewhere(gateway, viewers, now_ms);
        self.tell_stale = true;
    }

    /// Adds to `out` all there is to do.
    pub fn flush(&mut self, now_ms: u64, out: &mut Out) {
        if self.history_wanted && self.history.start(now_ms) {
            out.history = true;
        }
        for (region, attempt) in &mut self.totals_stale {
            let standing = self.regions.get(region);
            let answers = standing.is_none_or(|standing| standing.is_known());
            if answers && attempt.start(now_ms) {
                out.totals.push(region.clone());
            }
        }
        self.look_at_suspects(now_ms);
        let new = self.forward(now_ms, out);
        if self.is_started() {
            self.close_holes(now_ms, out);
        }
        let waits =
            |(region, totals): (&Region, &Attempt)| totals.is_first() && self.answers(region);
        if self.stage == Stage::Read && !self.totals_stale.iter().any(waits) {
            self.stage = Stage::Ready;
        }
        self.flush_lanes(now_ms, &new, out);
        self.tell(now_ms, out);
        out.counts = std::mem::take(&mut self.counts);
        out.end = self
            .idle_since_ms
            .is_some_and(|since| since + LINGER_MS <= now_ms);
    }

    /// When something becomes due.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        let history = self.history.due_ms().filter(|_| self.history_wanted);
        let totals = self
            .totals_stale
            .iter()
            .filter_map(|(region, attempt)| attempt.due_ms().filter(|_| self.answers(region)));
        let readings = self.readings.iter().filter_map(|(region, reading)| {
            let known = self.regions.get(region) != Some(&Standing::Away);
            reading.due_ms().filter(|_| known)
        });
        let idle = self.idle_since_ms.map(|since| since + LINGER_MS);
        let one = [
            history,
            idle,
            self.tell_at_ms,
            self.suspect_at_ms,
            self.lanes_due_ms,
        ];
        let one = one.into_iter().flatten();
        one.chain(totals).chain(readings).min()
    }

    fn look_at_suspects(&mut self, now_ms: u64) {
        if self.suspect_at_ms.is_none_or(|at| at > now_ms) {
            return;
        }
        self.suspect_at_ms = None;
        if self.history_wanted {
            // Looked at when it is there.
            return;
        }
        for (region, last) in std::mem::take(&mut self.suspects) {
            if let Some(reading) = self.readings.get_mut(&region)
                && reading.epoch() == last.epoch
                && reading.last(last.seq)
            {
                self.counts.tail_repairs += 1;
            }
        }
    }

    /// Encodes what is ready; says which of the frames that is.
    fn forward(&mut self, now_ms: u64, out: &mut Out) -> Range<usize> {
        let begin = out.frames.len();
        let mut forwarded = 0;
        for (region, reading) in &mut self.readings {
            if let Some(range) = reading.take(&mut self.events) {
                let epoch = reading.epoch();
                forwarded += self.events.len();
                encode(region, epoch, range, &self.events, &mut out.frames);
                for event in self.events.drain(..) {
                    let by = self.newest.take(event);
                    self.comment_count = self.comment_count.saturating_add_signed(by);
                }
            }
        }
        self.counts.forwarded += forwarded as u64;
        if forwarded > 0 {
            self.activity.count(forwarded, now_ms);
            self.events.shrink_to(super::EVENTS_KEPT);
        }
        begin..out.frames.len()
    }

    fn close_holes(&mut self, now_ms: u64, out: &mut Out) {
        for (region, reading) in &mut self.readings {
            if self.regions.get(region) == Some(&Standing::Away) {
                continue;
            }
            if let Some(after) = reading.wants(now_ms) {
                self.tickets += 1;
                reading.ticket = self.tickets;
                out.reads.push(Read {
                    ticket: self.tickets,
                    reader: Reader::Follower,
                    region: region.clone(),
                    after,
                    to: reading.heard,
                    max: REPAIR_EVENTS_MAX,
                });
            }
        }
    }

    fn tell(&mut self, now_ms: u64, out: &mut Out) {
        if std::mem::take(&mut self.tell_stale) {
            self.tell_at_ms = self.tell_due_ms();
        }
        if self.tell_at_ms.is_none_or(|at| at > now_ms) {
            return;
        }
        self.viewers.expire(now_ms);
        if let Some(viewers) = self.viewers.report(now_ms) {
            out.report = Some(viewers);
        }
        let viewers = self.viewers.take(now_ms);
        let reactions = self.totals.take(now_ms).unwrap_or_default();
        datagrams(&self.stream, reactions, viewers, &mut out.datagrams);
        self.tell_at_ms = self.tell_due_ms();
    }

    fn tell_due_ms(&self) -> Option<u64> {
        let due = [self.totals.due_ms(), self.viewers.due_ms()];
        due.into_iter().flatten().min()
    }

    /// A number that other followers do not draw at the same time.
    pub(super) fn jitter(&mut self) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.seed >> 33
    }
}

fn datagrams(
    stream: &StreamId,
    reactions: Reactions,
    mut viewers: Option<u64>,
    into: &mut Vec<Bytes>,
) {
    let mut kinds = reactions.into_iter().peekable();
    while kinds.peek().is_some() || viewers.is_some() {
        let datagram = Datagram::Totals {
            stream: stream.clone(),
            reactions: kinds.by_ref().take(DATAGRAM_TYPES_MAX).collect(),
            viewers: viewers.take(),
        };
        // Writing names and numbers into memory cannot fail.
        into.extend(write_bare(&datagram).ok().map(Bytes::from));
    }
}
