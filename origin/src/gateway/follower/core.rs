//! What a follower decides, without a socket, a clock or a handle of the log: one [`Core`] per stream and gateway.
//!
//! Inputs change the state and take the time in milliseconds where it matters; [`Core::flush`] puts all there is to do into
//! an [`Out`]; [`Core::next`] says when to call it without an input.
//!
//! | in | out |
//! | --- | --- |
//! | [`Core::regions`]: which regions are known or away | |
//! | [`Core::history`], [`Core::totals`]: answers | [`Out::history`], [`Out::totals`]: read them |
//! | [`Core::hear`]: a live event; [`Core::last`]: the log's last sequence of the stream | [`Out::reads`]: read the log |
//! | [`Core::read`]: what a read of the log brought | [`Out::frames`], [`Out::deliveries`]: hand these to that lane |
//! | [`Core::hold`], [`Core::release`], [`Core::full`], [`Core::drained`]: lanes | [`Out::lanes`]: answers and moves |
//! | [`Core::reaction`], [`Core::viewing`], [`Core::gone`], [`Core::elsewhere`] | [`Out::datagrams`], [`Out::report`] |
//!
//! Rules:
//! - Nothing is forwarded before what comes before it ([`chorus_protocol::gap`]); holes are read from the log, one read at a
//!   time and region, with a backoff. A last sequence ahead of what was forwarded counts as a loss after 150 ms.
//! - A lane gets every event after its position once and in order. One that is behind (resumed, lagged, a region came back)
//!   reads the log up to what is forwarded; frames of the meantime wait for it. More than `resume_max` events, another epoch,
//!   an unknown region or what the log no longer holds (also where a hole is to be closed) is a gap: the lane is told the state.
//! - A lane begins on the quiet lane; it gets its own when the stream is busy or the quiet one has no room, and goes back when
//!   the stream was calm for a while. A full lane of its own lags: it is emptied first, then it catches up.
//! - Of a region that is away only the mirror is read, and no lane is told a gap for having more than the mirror.
//! - A region that is away and has no mirror is left out: start, holds and catching up do not wait for it. When it is known (again), lanes go on
//!   from where they stand in it, or are told a gap. A region that is new or has a new epoch makes the history read anew.
//! - Without a lane for 5 s the follower ends.

mod activity;
mod attempt;
mod catch_up;
mod flush;
mod frame;
mod lane;
mod lanes;
mod newest;
mod reading;
mod totals;

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use chorus_protocol::backhaul::{Held, StreamState};
use chorus_protocol::server::Reactions;
use chorus_protocol::stream::Life;
use chorus_protocol::{CommentId, Event, Offset, Position, Region, StreamId};

use self::activity::Activity;
use self::attempt::Attempt;
pub use self::catch_up::{CatchUp, Found, Gap, Missed};
pub use self::frame::Frame;
use self::lane::Lane;
use self::newest::Newest;
use self::reading::Reading;
pub use self::totals::PopProcess;
use self::totals::{Totals, Viewers};

/// How long live messages get before a last sequence that is ahead of them counts as a loss.
const SUSPECT_MS: u64 = 150;
/// How long a follower stays when nobody holds its stream: viewers come and go.
const LINGER_MS: u64 = 5_000;
/// Events whose room is kept for the next ones; a follower of a quiet stream needs no more.
const EVENTS_KEPT: usize = 32;
/// Events read from the log at once to close a hole.
const REPAIR_EVENTS_MAX: usize = 2_000;

/// A lane's number in this gateway: one hold of one PoP.
pub type LaneId = u64;

/// Bounds of a follower.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Comments in a state.
    pub newest_max: usize,
    /// Events a lane may be behind; more is a gap.
    pub resume_max: usize,
}

/// How a configured region stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its log can be read.
    Known {
        /// Which incarnation of the log.
        epoch: u64,
    },
    /// This region's mirror of it can be read, and nothing else of it.
    Mirrored {
        /// Which incarnation of the log.
        epoch: u64,
    },
    /// It cannot.
    Away,
}

impl Standing {
    /// Which incarnation of its events can be read.
    #[must_use]
    pub fn epoch(self) -> Option<u64> {
        match self {
            Self::Known { epoch } | Self::Mirrored { epoch } => Some(epoch),
            Self::Away => None,
        }
    }

    /// Whether its own servers answer.
    fn is_known(self) -> bool {
        matches!(self, Self::Known { .. })
    }
}

/// The configured regions.
pub type Regions = BTreeMap<Region, Standing>;

/// The stream's history when the follower starts.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Up to where all of this is complete.
    pub at: Position,
    /// The newest comments, newest first.
    pub comments: Vec<(CommentId, Event)>,
    /// The decisions about them.
    pub decisions: Vec<Event>,
    /// Comments of the stream.
    pub comment_count: u64,
}

/// A live event.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The event.
    pub event: Event,
    /// The sequence of the one before it on the same subject, 0 for the first.
    pub previous: u64,
}

/// Whose read of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The follower closes a hole.
    Follower,
    /// A lane catches up.
    Lane(LaneId),
}

/// A read of a region's log, answered by [`Core::read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Never used again.
    pub ticket: u64,
    /// For whom.
    pub reader: Reader,
    /// Whose log.
    pub region: Region,
    /// After this sequence.
    pub after: u64,
    /// At least up to this one, from a log that has it.
    pub to: u64,
    /// At most so many events.
    pub max: usize,
}

/// How the stream stands where a lane's deliveries begin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// All of it is at this position.
    pub at: Position,
    /// Comments, oldest first, and the decisions about them.
    pub newest: Vec<Event>,
    /// Comments of the stream.
    pub comment_count: u64,
    /// Running totals.
    pub reactions: Reactions,
    /// Viewers at all PoPs.
    pub viewer_count: u64,
}

/// The answer to a hold; a later [`Answer::Gap`] replaces what the PoP has.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The state; deliveries begin at its position.
    Fresh(Box<Snapshot>),
    /// Deliveries begin at the position that the PoP has.
    Resumed,
    /// As `Fresh`: what lies between cannot be had.
    Gap(Box<Snapshot>),
}

impl Answer {
    /// As it is told to the PoP.
    #[must_use]
    pub fn held(self, life: &Life) -> Held {
        let state = |snapshot: Snapshot| {
            Box::new(StreamState {
                info: life.info.clone(),
                life_seq: life.seq,
                at: snapshot.at,
                newest: snapshot.newest,
                comment_count: snapshot.comment_count,
                reactions: snapshot.reactions,
                viewer_count: snapshot.viewer_count,
            })
        };
        match self {
            Self::Fresh(snapshot) => Held::Fresh(state(*snapshot)),
            Self::Resumed => Held::Resumed,
            Self::Gap(snapshot) => Held::Gap(state(*snapshot)),
        }
    }
}

/// What happens to a lane.
#[derive(Clone, Debug, PartialEq)]
pub enum ToLane {
    /// Tell the PoP. A gap makes what waits in a queue of its own obsolete.
    Answer(Answer),
    /// What is delivered from here on goes through a new queue of its own.
    Own,
    /// What is delivered from here on goes over the PoP's quiet lane; the queue of its own is emptied and ends.
    Quiet,
}

/// What happened, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events forwarded.
    pub forwarded: u64,
    /// Holes seen in live messages.
    pub holes: u64,
    /// Holes closed from the log.
    pub repaired: u64,
    /// Losses at the very end, found by last sequences.
    pub tail_repairs: u64,
    /// Queues that were full.
    pub lagged: u64,
}

/// What is to be done now, in the order of the fields. Whoever does it takes it out.
#[derive(Debug, Default)]
pub struct Out {
    /// Read the history, answered by [`Core::history`].
    pub history: bool,
    /// Read these regions' reaction totals, answered by [`Core::totals`].
    pub totals: Vec<Region>,
    /// Read the log.
    pub reads: Vec<Read>,
    /// Answers and moves, in their order.
    pub lanes: Vec<(LaneId, ToLane)>,
    /// Encoded deliveries.
    pub frames: Vec<Frame>,
    /// Which of `frames` go to a lane, in this order. Where one is not taken, [`Core::full`] is told it and those after it.
    pub deliveries: Vec<(LaneId, Range<usize>)>,
    /// Tell the other gateways that so many viewers are here.
    pub report: Option<u64>,
    /// Send to every lane's PoP.
    pub datagrams: Vec<Bytes>,
    /// For metrics.
    pub counts: Counts,
    /// The follower ends.
    pub end: bool,
}

/// How far a follower has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Starting,
    /// The history was read.
    Read,
    /// So were reaction totals, or they could not be: lanes are answered.
    Ready,
}

/// See the module.
pub struct Core {
    stream: StreamId,
    bounds: Bounds,
    regions: Regions,
    readings: BTreeMap<Region, Reading>,
    newest: Newest,
    comment_count: u64,
    totals: Totals,
    /// Where mirrors ended that had less than was heard live, until regions change.
    mirrors_end: BTreeMap<Region, u64>,
    /// Regions whose totals may have been missed.
    totals_stale: BTreeMap<Region, Attempt>,
    viewers: Viewers,
    lanes: BTreeMap<LaneId, Lane>,
    activity: Activity,
    /// Last sequences ahead of what was forwarded; looked at again when live messages had time to come.
    suspects: BTreeMap<Region, Offset>,
    suspect_at_ms: Option<u64>,
    idle_since_ms: Option<u64>,
    stage: Stage,
    history_wanted: bool,
    history: Attempt,
    /// Of regions that are not followed yet: the epoch and the last sequence heard.
    unfollowed: BTreeMap<Region, (u64, u64)>,
    /// When totals or viewers are to be told; found anew when `tell_stale`.
    tell_at_ms: Option<u64>,
    tell_stale: bool,
    lanes_due_ms: Option<u64>,
    /// Lanes whose read showed that they cannot catch up.
    gaps: Vec<LaneId>,
    tickets: u64,
    seed: u64,
    counts: Counts,
    /// Empty between two calls.
    events: Vec<Event>,
}

impl Core {
    /// `seed` is a number that other followers do not have: waits before another try differ by it.
    #[must_use]
    pub fn new(stream: StreamId, bounds: Bounds, seed: u64, now_ms: u64) -> Self {
        Self {
            stream,
            bounds,
            regions: Regions::new(),
            readings: BTreeMap::new(),
            newest: Newest::new(bounds.newest_max, Vec::new(), Vec::new()),
            comment_count: 0,
            totals: Totals::default(),
            mirrors_end: BTreeMap::new(),
            totals_stale: BTreeMap::new(),
            viewers: Viewers::default(),
            lanes: BTreeMap::new(),
            activity: Activity::default(),
            suspects: BTreeMap::new(),
            suspect_at_ms: None,
            idle_since_ms: Some(now_ms),
            stage: Stage::Starting,
            history_wanted: true,
            history: Attempt::default(),
            unfollowed: BTreeMap::new(),
            tell_at_ms: None,
            tell_stale: true,
            lanes_due_ms: None,
            gaps: Vec::new(),
            tickets: 0,
            seed,
            counts: Counts::default(),
            events: Vec::new(),
        }
    }

    /// Whether the history is there: live events are better kept until then.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.stage > Stage::Starting
    }

    /// Whether the stream has many events now.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.activity.is_busy()
    }

    /// Which regions are configured and how they stand.
    pub fn regions(&mut self, regions: Regions) {
        if regions == self.regions {
            return;
        }
        for (region, standing) in &regions {
            if self.regions.get(region) == Some(standing) {
                continue;
            }
            match (standing.epoch(), self.readings.get_mut(region)) {
                (Some(epoch), Some(reading)) if reading.epoch() == epoch => {
                    reading.attempt.retry_now();
                }
                (Some(_), _) => self.history_wanted = true,
                (None, _) => continue,
            }
            if standing.is_known() {
                self.totals_stale.entry(region.clone()).or_default();
            }
        }
        self.mirrors_end.clear();
        self.regions = regions;
        self.decide_again();
    }

    /// The history came, or could not be read.
    pub fn history(&mut self, now_ms: u64, past: Option<Past>) {
        let Some(past) = past else {
            let jitter = self.jitter();
            return self.history.failed(now_ms, jitter);
        };
        for (region, at) in &past.at.0 {
            let before = self.readings.remove(region);
            let mut at = *at;
            if let Some(before) = before.as_ref().filter(|it| it.epoch() == at.epoch) {
                at.seq = at.seq.max(before.begin);
            }
            let mut reading = Reading::new(at);
            let heard = before.map(|before| (before.epoch(), before.heard));
            for (epoch, heard) in heard.into_iter().chain(self.unfollowed.remove(region)) {
                if epoch == at.epoch {
                    reading.last(heard);
                }
            }
            self.readings.insert(region.clone(), reading);
        }
        self.newest = Newest::new(self.bounds.newest_max, past.comments, past.decisions);
        self.comment_count = past.comment_count;
        self.stage = self.stage.max(Stage::Read);
        // One that is known and yet not in the history is looked for again.
        self.history_wanted = self.regions.iter().any(|(region, standing)| {
            let Some(epoch) = standing.epoch() else {
                return false;
            };
            let reading = self.readings.get(region);
            reading.is_none_or(|reading| reading.epoch() != epoch)
        });
        if self.history_wanted {
            let jitter = self.jitter();
            self.history.failed(now_ms, jitter);
        } else {
            self.history.succeeded();
            if !self.suspects.is_empty() {
                self.suspect_at_ms.get_or_insert(now_ms + SUSPECT_MS);
            }
        }
        self.decide_again();
    }

    /// A region's reaction totals came, or could not be read.
    pub fn totals(&mut self, now_ms: u64, region: Region, totals: Option<Reactions>) {
        let jitter = self.jitter();
        match totals {
            Some(totals) => {
                self.totals_stale.remove(&region);
                for (kind, total) in totals {
                    self.totals.note(region.clone(), kind, total);
                }
                if self.stage < Stage::Ready {
                    // It is in every state.
                    self.totals.settle();
                }
                self.tell_stale = true;
            }
            None => {
                if let Some(attempt) = self.totals_stale.get_mut(&region) {
                    attempt.failed(now_ms, jitter);
                }
            }
        }
    }

    /// The connection to the log was away: what was missed must be asked for.
    pub fn reconnected(&mut self) {
        for (region, standing) in &self.regions {
            if standing.is_known() {
                self.totals_stale.entry(region.clone()).or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests;
