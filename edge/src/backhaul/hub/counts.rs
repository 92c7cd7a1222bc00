//! What the shards count, added up: reactions handed in once per stream and interval, viewers said when they change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chorus_protocol::backhaul::{Publish, UserReactions, VIEWING_MS};
use chorus_protocol::server::Reactions;
use chorus_protocol::timing::{Backoff, Deadlines};
use chorus_protocol::{Outcome, Region, StreamId, UserId};

use crate::link::ShardId;

/// The bounds that concern counting.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountBounds {
    pub(super) reactions: Duration,
    pub(super) reaction_types_max: usize,
    pub(super) reaction_users_max: usize,
    pub(super) reactions_dropped_after: Duration,
    pub(super) viewers: Duration,
    pub(super) retry: Backoff,
}

/// Reactions handed in and not yet acknowledged. One per stream at a time; what comes meanwhile is added up.
#[derive(Debug)]
struct Flight {
    number: u64,
    publish: Arc<Publish>,
    since: Instant,
    tries: u32,
    /// When to send it again; `None` while an answer is awaited.
    again: Option<Instant>,
    sent: bool,
}

#[derive(Debug, Default)]
struct Counting {
    viewers: BTreeMap<ShardId, u64>,
    /// What was said last, and when.
    said: Option<(u64, Instant)>,
    /// Of those whom no limit holds.
    pending: Reactions,
    /// And of the others.
    pending_by: BTreeMap<UserId, Reactions>,
    flight: Option<Flight>,
    handed_in: Option<Instant>,
}

impl Counting {
    fn total(&self) -> u64 {
        self.viewers.values().sum()
    }

    fn is_idle(&self) -> bool {
        let nobody = self.total() == 0 && self.said.is_none_or(|(count, _)| count == 0);
        nobody && !self.has_reactions() && self.flight.is_none()
    }

    fn has_reactions(&self) -> bool {
        !self.pending.is_empty() || !self.pending_by.is_empty()
    }
}

/// What counting wants said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Reactions, and whether they had been sent before.
    pub(super) reactions: Vec<(Arc<Publish>, bool)>,
    pub(super) viewing: Vec<(StreamId, u64)>,
    pub(super) dropped: u64,
}

/// The counts of all streams.
#[derive(Debug)]
pub(super) struct Counts {
    streams: HashMap<StreamId, Counting>,
    flights: HashMap<u64, StreamId>,
    due: Deadlines<Instant, StreamId>,
    refresh_at: Option<Instant>,
    /// The upper half of the keys of this process's increments.
    process: u64,
    /// Of the gateway that was connected last.
    region: Option<Region>,
    bounds: CountBounds,
}

impl Counts {
    pub(super) fn new(process: u64, bounds: CountBounds) -> Self {
        Self {
            streams: HashMap::new(),
            flights: HashMap::new(),
            due: Deadlines::default(),
            refresh_at: None,
            process,
            region: None,
            bounds,
        }
    }

    /// Takes what a shard adds; says how many reactions had to be dropped.
    pub(super) fn add(
        &mut self,
        now: Instant,
        shard: ShardId,
        stream: &StreamId,
        (reactions, users): (Reactions, Vec<UserReactions>),
        viewers: Option<u64>,
    ) -> u64 {
        let counting = self.streams.entry(stream.clone()).or_default();
        let bounds = &self.bounds;
        let mut dropped = add_up(&mut counting.pending, reactions, bounds.reaction_types_max);
        for UserReactions { user, by } in users {
            let full = counting.pending_by.len() >= bounds.reaction_users_max;
            if full && !counting.pending_by.contains_key(&user) {
                dropped += by.values().sum::<u64>();
            } else {
                let pending = counting.pending_by.entry(user).or_default();
                dropped += add_up(pending, by, bounds.reaction_types_max);
            }
        }
        if let Some(viewers) = viewers {
            counting.viewers.insert(shard, viewers);
        }
        self.schedule(now, stream);
        dropped
    }

    /// The shard has nobody of the stream any more.
    pub(super) fn leave(&mut self, now: Instant, shard: ShardId, stream: &StreamId) {
        if let Some(counting) = self.streams.get_mut(stream)
            && counting.viewers.remove(&shard).is_some()
        {
            self.schedule(now, stream);
        }
    }

    /// The shard begins anew: it has nobody of any stream.
    pub(super) fn forget(&mut self, now: Instant, shard: ShardId) {
        let counted = |(stream, it): (&StreamId, &Counting)| {
            it.viewers.contains_key(&shard).then(|| stream.clone())
        };
        let streams: Vec<StreamId> = self.streams.iter().filter_map(counted).collect();
        for stream in streams {
            self.leave(now, shard, &stream);
        }
    }

    /// Takes the gateway's answer to reactions handed in; says how many were refused for good.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        number: u64,
        outcome: &Outcome,
        jitter: u64,
    ) -> u64 {
        let Some(stream) = self.flights.get(&number).cloned() else {
            return 0;
        };
        let retry = self.bounds.retry;
        let mut dropped = 0;
        if let Some(counting) = self.streams.get_mut(&stream) {
            match outcome {
                Outcome::Unknown => {
                    if let Some(flight) = &mut counting.flight {
                        flight.tries += 1;
                        let wait = Duration::from_millis(retry.ms(flight.tries, jitter));
                        flight.again = Some(now + wait);
                    }
                }
                Outcome::Stored { .. } | Outcome::Refused { .. } => {
                    if matches!(outcome, Outcome::Refused { .. }) {
                        dropped = counting.flight.as_ref().map_or(0, amount);
                    }
                    counting.flight = None;
                    self.flights.remove(&number);
                }
            }
        }
        self.schedule(now, &stream);
        dropped
    }

    /// A new connection: all that is under way is sent again, all viewers are said again.
    pub(super) fn connected(&mut self, now: Instant, region: &Region) {
        self.region = Some(region.clone());
        self.refresh_at = Some(now);
        let streams: Vec<StreamId> = self.streams.keys().cloned().collect();
        for stream in streams {
            if let Some(flight) = self
                .streams
                .get_mut(&stream)
                .and_then(|it| it.flight.as_mut())
            {
                flight.again = Some(now);
            }
            self.schedule(now, &stream);
        }
    }

    pub(super) fn disconnected(&mut self) {
        self.refresh_at = None;
    }

    /// What is to be said now. To be called while connected only.
    pub(super) fn say(&mut self, now: Instant, next_number: &mut u64, said: &mut Said) {
        while let Some(stream) = self.due.pop(now) {
            self.say_stream(now, &stream, next_number, said);
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = Some(now + Duration::from_millis(VIEWING_MS));
            for (stream, counting) in &mut self.streams {
                let total = counting.total();
                if total > 0 {
                    counting.said = Some((total, now));
                    said.viewing.push((stream.clone(), total));
                }
            }
        }
    }

    fn say_stream(
        &mut self,
        now: Instant,
        stream: &StreamId,
        next_number: &mut u64,
        said: &mut Said,
    ) {
        let Some(counting) = self.streams.get_mut(stream) else {
            return;
        };
        let total = counting.total();
        let changed = counting.said.map_or(0, |(count, _)| count) != total;
        let rested = counting
            .said
            .is_none_or(|(_, at)| now >= at + self.bounds.viewers);
        if changed && rested {
            counting.said = Some((total, now));
            said.viewing.push((stream.clone(), total));
        }
        if let Some(flight) = &mut counting.flight {
            if now >= flight.since + self.bounds.reactions_dropped_after {
                said.dropped += amount(flight);
                self.flights.remove(&flight.number);
                counting.flight = None;
            } else if flight.again.is_some_and(|at| at <= now) {
                flight.again = None;
                said.reactions
                    .push((Arc::clone(&flight.publish), flight.sent));
                flight.sent = true;
            }
        }
        let rested = counting
            .handed_in
            .is_none_or(|at| now >= at + self.bounds.reactions);
        if counting.flight.is_none() && counting.has_reactions() && rested {
            let number = *next_number;
            *next_number += 1;
            let users = std::mem::take(&mut counting.pending_by).into_iter();
            let publish = Arc::new(Publish::Reactions {
                request: number,
                stream: stream.clone(),
                key: u128::from(self.process) << 64 | u128::from(number),
                by: std::mem::take(&mut counting.pending),
                users: users.map(|(user, by)| UserReactions { user, by }).collect(),
                region: self.region.clone(),
            });
            said.reactions.push((Arc::clone(&publish), false));
            counting.handed_in = Some(now);
            counting.flight = Some(Flight {
                number,
                publish,
                since: now,
                tries: 0,
                again: None,
                sent: true,
            });
            self.flights.insert(number, stream.clone());
        }
        self.schedule(now, stream);
    }

    /// Works out when the stream has something to say, or forgets it.
    fn schedule(&mut self, now: Instant, stream: &StreamId) {
        let Some(counting) = self.streams.get_mut(stream) else {
            return;
        };
        if counting.is_idle() {
            self.streams.remove(stream);
            self.due.set(stream.clone(), None);
            return;
        }
        let changed = counting.said.map_or(0, |(count, _)| count) != counting.total();
        let viewers = changed.then(|| {
            counting
                .said
                .map_or(now, |(_, at)| at + self.bounds.viewers)
        });
        let again = counting.flight.as_ref().and_then(|flight| flight.again);
        let reactions = (counting.flight.is_none() && counting.has_reactions()).then(|| {
            counting
                .handed_in
                .map_or(now, |at| at + self.bounds.reactions)
        });
        let due = viewers.into_iter().chain(again).chain(reactions).min();
        self.due.set(stream.clone(), due);
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.due.next().into_iter().chain(self.refresh_at).min()
    }
}

fn amount(flight: &Flight) -> u64 {
    match &*flight.publish {
        Publish::Reactions { by, users, .. } => {
            let of_users = users.iter().flat_map(|it| it.by.values());
            by.values().chain(of_users).sum()
        }
        Publish::Event { .. } => 0,
    }
}

/// Adds to the totals of at most so many types; says how many reactions were of others.
fn add_up(totals: &mut Reactions, more: Reactions, types_max: usize) -> u64 {
    let mut dropped = 0;
    for (name, by) in more {
        if totals.len() >= types_max && !totals.contains_key(&name) {
            dropped += by;
        } else {
            let total = totals.entry(name).or_default();
            *total = total.saturating_add(by);
        }
    }
    dropped
}
