//! What a reader missed between two positions, region by region: for lanes that go on from a position, and for replays.

use chorus_protocol::{Event, Position, Region};

use super::{Regions, Standing};

/// What lies between two positions cannot be had whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap;

/// What a log holds of a stream after a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Which incarnation of the log was read.
    pub epoch: u64,
    /// The oldest sequence the log holds, whatever its stream.
    pub first_seq: u64,
    /// The newest.
    pub last_seq: u64,
    /// In the order of the log.
    pub events: Vec<Event>,
    /// False when there is more than was asked for.
    pub complete: bool,
}

/// What is in `(from, to]` of a region's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Whose log.
    pub region: Region,
    /// Which incarnation of it.
    pub epoch: u64,
    /// After this,
    pub from: u64,
    /// up to this.
    pub to: u64,
    /// All there is.
    pub events: Vec<Event>,
    /// Only a mirror can be read, which may have less.
    mirrored: bool,
}

/// What is still to be read, and what was read.
#[derive(Debug)]
pub struct CatchUp {
    /// The next one last; without events yet.
    left: Vec<Missed>,
    read: Vec<Missed>,
    room: usize,
    short: Option<(Region, u64)>,
}

impl CatchUp {
    /// Between two positions, at most `max` events in all. A region that `from` does not name stands at its beginning. Those
    /// that are away are left out, and where only a mirror can be read that has less than `from`.
    ///
    /// # Errors
    /// When an epoch differs, or a region is not configured.
    pub fn new(from: &Position, to: &Position, regions: &Regions, max: usize) -> Result<Self, Gap> {
        if !from.0.keys().all(|region| regions.contains_key(region)) {
            return Err(Gap);
        }
        let mut left = Vec::new();
        for (region, to) in to.0.iter().rev() {
            let from = match from.get(region) {
                Some(from) if from.epoch != to.epoch => return Err(Gap),
                Some(from) => from.seq,
                None => 0,
            };
            if from == to.seq {
                continue;
            }
            match regions.get(region) {
                Some(Standing::Away) => {}
                // It was read in another region, which had more before this one was cut off.
                Some(Standing::Mirrored { .. }) if from > to.seq => {}
                Some(Standing::Known { epoch } | Standing::Mirrored { epoch })
                    if *epoch == to.epoch =>
                {
                    left.push(Missed {
                        region: region.clone(),
                        epoch: to.epoch,
                        from,
                        to: to.seq,
                        events: Vec::new(),
                        mirrored: regions
                            .get(region)
                            .is_some_and(|standing| !standing.is_known()),
                    })
                }
                Some(Standing::Known { .. } | Standing::Mirrored { .. }) | None => {
                    return Err(Gap);
                }
            }
        }
        Ok(Self {
            left,
            read: Vec::new(),
            room: max,
            short: None,
        })
    }

    /// Nothing is missed.
    pub(super) fn nothing() -> Self {
        Self {
            left: Vec::new(),
            read: Vec::new(),
            room: 0,
            short: None,
        }
    }

    /// What to read next: the region, after which sequence and at least up to which, and at most how many events. `None`: all
    /// is there.
    #[must_use]
    pub fn wants(&self) -> Option<(&Region, (u64, u64), usize)> {
        let next = self.left.last()?;
        // One more than there may be tells "all" from "more"; what came after `to` may be among them. A position ahead of
        // `to` must be the log's, or it is of another life of it.
        let to = next.to.max(next.from);
        Some((&next.region, (next.from, to), self.room + 1))
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// When the log was made anew, no longer holds all of it or never held it, or there are too many.
    pub fn read(&mut self, found: Found) -> Result<(), Gap> {
        let Some(mut next) = self.left.pop() else {
            return Ok(());
        };
        // Behind the oldest that is held, or beyond the newest: a position of another life of this log.
        let lost = next.from + 1 < found.first_seq && next.from < next.to;
        if found.epoch != next.epoch || lost || next.from > found.last_seq {
            return Err(Gap);
        }
        if next.mirrored && found.last_seq < next.to {
            next.to = found.last_seq;
            self.short = Some((next.region.clone(), next.to));
        }
        if next.from >= next.to {
            return Ok(());
        }
        let mut events = found.events;
        let beyond = events.iter().position(|event| event.seq > next.to);
        events.truncate(beyond.unwrap_or(events.len()));
        self.room = self.room.checked_sub(events.len()).ok_or(Gap)?;
        next.events = events;
        self.read.push(next);
        Ok(())
    }

    /// The region whose mirror had less than was missed, and up to where it went: the rest can be had when the region is
    /// back.
    #[must_use]
    pub fn short(&self) -> Option<&(Region, u64)> {
        self.short.as_ref()
    }

    /// What was read.
    #[must_use]
    pub fn into_missed(self) -> Vec<Missed> {
        self.read
    }
}
