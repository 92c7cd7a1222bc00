//! A region's log and the store behind it, as far as gateways see them.

use std::collections::BTreeMap;

use chorus_origin::gateway::follower::core::{Found, Heard, Past};
use chorus_protocol::event::{AuthorRole, kind};
use chorus_protocol::{CommentId, Envelope, Event, Offset, Position, Region, StreamId};

/// A message that was stored, in whichever life of its log.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) offset: Offset,
    pub(crate) stream: StreamId,
    pub(crate) key: u128,
    pub(crate) id: CommentId,
    pub(crate) removes: Option<CommentId>,
    pub(crate) body: Vec<u8>,
}

/// What is published.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) stream: StreamId,
    pub(crate) key: u128,
    pub(crate) id: CommentId,
    pub(crate) removes: Option<CommentId>,
}

impl Publication {
    pub(crate) fn body(&self) -> Vec<u8> {
        let envelope = Envelope {
            id: self.id,
            kind: if self.removes.is_some() {
                kind::REMOVAL
            } else {
                kind::COMMENT
            },
            stream: self.stream.as_str(),
            author: "ann",
            role: AuthorRole::User,
            key: self.key,
            target: self.removes,
            record: b"",
        };
        envelope.write(0, |_| {})
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let envelope = Envelope::read(body)?;
        Some(Self {
            stream: envelope.stream_id()?,
            key: envelope.key,
            id: envelope.id,
            removes: envelope.removes(),
        })
    }
}

/// How a log takes what is written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    Well,
    /// Not, and says so at once.
    NoLeader,
    /// Not, and says nothing.
    Frozen,
    /// It does, and says nothing.
    AcksLost,
}

/// One region's log. Its streams share the sequences.
pub(crate) struct Log {
    pub(crate) region: Region,
    pub(crate) epoch: u64,
    /// The oldest sequence held.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// It can be neither read nor written.
    pub(crate) away: bool,
    pub(crate) writes: Writes,
    /// Of all its lives, in order.
    pub(crate) ever: Vec<Stored>,
    /// Where in `ever` today's life begins.
    begin: usize,
    keys: BTreeMap<u128, usize>,
}

impl Log {
    pub(crate) fn new(region: Region, epoch: u64) -> Self {
        Self {
            region,
            epoch,
            first: 1,
            last: 0,
            away: false,
            writes: Writes::Well,
            ever: Vec::new(),
            begin: 0,
            keys: BTreeMap::new(),
        }
    }

    /// The first one's id and whether it was there before; and, when it was not, what is heard live.
    pub(crate) fn append(&mut self, publication: &Publication) -> (CommentId, Option<Heard>) {
        if let Some(index) = self.keys.get(&publication.key) {
            return (self.ever[*index].id, None);
        }
        let previous = self.last_of(&publication.stream);
        self.last += 1;
        let offset = Offset {
            epoch: self.epoch,
            seq: self.last,
        };
        self.keys.insert(publication.key, self.ever.len());
        self.ever.push(Stored {
            offset,
            stream: publication.stream.clone(),
            key: publication.key,
            id: publication.id,
            removes: publication.removes,
            body: publication.body(),
        });
        let event = self.event(&self.ever[self.ever.len() - 1]);
        (publication.id, Some(Heard { event, previous }))
    }

    /// The id of what was stored first under a key.
    pub(crate) fn first_of(&self, key: u128) -> Option<CommentId> {
        let index = self.keys.get(&key)?;
        Some(self.ever[*index].id)
    }

    pub(crate) fn event(&self, stored: &Stored) -> Event {
        Event {
            region: self.region.clone(),
            epoch: stored.offset.epoch,
            seq: stored.offset.seq,
            body: stored.body.clone(),
        }
    }

    /// Forgets the oldest, as its age says.
    pub(crate) fn truncate(&mut self, first: u64) {
        self.first = self.first.max(first.min(self.last + 1));
    }

    /// Made anew: empty, and it counts from 1.
    pub(crate) fn renew(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.first = 1;
        self.last = 0;
        self.begin = self.ever.len();
        self.keys.clear();
    }

    /// What was stored of a stream in `(from, to]` of a life, held or not.
    pub(crate) fn range<'a>(
        &'a self,
        stream: &'a StreamId,
        epoch: u64,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = &'a Stored> {
        let place = |seq: u64| {
            (self.ever).partition_point(|it| (it.offset.epoch, it.offset.seq) <= (epoch, seq))
        };
        let end = place(to).max(place(from));
        self.ever[place(from)..end]
            .iter()
            .filter(move |it| it.stream == *stream)
    }

    /// Whether a removal of a comment lies behind this one of it, and not beyond `at`.
    pub(crate) fn removed(&self, comment: &Event, id: CommentId, at: Option<Offset>) -> bool {
        let of = |it: Offset| (it.epoch, it.seq);
        let after = (comment.epoch, comment.seq);
        let removals = self.ever.iter().filter(|it| it.removes == Some(id));
        let mut places = removals.map(|it| of(it.offset));
        at.is_some_and(|at| places.any(|it| it > after && it <= of(at)))
    }

    /// What is held of a stream after a sequence.
    pub(crate) fn held<'a>(
        &'a self,
        stream: &'a StreamId,
        after: u64,
    ) -> impl Iterator<Item = &'a Stored> {
        self.range(stream, self.epoch, after.max(self.first - 1), self.last)
    }

    /// The last sequence held of a stream, 0 without one.
    pub(crate) fn last_of(&self, stream: &StreamId) -> u64 {
        let here = self.ever[self.begin..].iter().rev();
        let mut here = here.take_while(|it| it.offset.seq >= self.first);
        here.find(|it| it.stream == *stream)
            .map_or(0, |it| it.offset.seq)
    }

    pub(crate) fn found(&self, stream: &StreamId, after: u64, max: usize) -> Found {
        let mut events: Vec<Event> = (self.held(stream, after).take(max + 1))
            .map(|stored| self.event(stored))
            .collect();
        let complete = events.len() <= max;
        events.truncate(max);
        Found {
            epoch: self.epoch,
            first_seq: self.first,
            last_seq: self.last,
            events,
            complete,
        }
    }
}

/// Store and logs together: all that was ever stored and not taken away. `persisted`: the store is as far as the log.
pub(crate) fn past(
    logs: &[&Log],
    stored: &[Log],
    stream: &StreamId,
    max: usize,
    persisted: bool,
) -> Past {
    let all = || {
        stored
            .iter()
            .flat_map(|log| log.ever.iter().map(move |it| (log, it)))
    };
    let of_stream = || all().filter(|(_, it)| it.stream == *stream);
    let removed: Vec<CommentId> = of_stream().filter_map(|(_, it)| it.removes).collect();
    let mut comments: BTreeMap<CommentId, Event> = BTreeMap::new();
    for (log, it) in of_stream() {
        if it.removes.is_none() && !removed.contains(&it.id) {
            comments.insert(it.id, log.event(it));
        }
    }
    let mut at = Position::default();
    for log in logs {
        let of_stream = log.range(stream, log.epoch, 0, log.last).last();
        let seq = if persisted {
            log.last
        } else {
            of_stream.map_or(0, |it| it.offset.seq)
        };
        at.advance(
            &log.region,
            Offset {
                epoch: log.epoch,
                seq,
            },
        );
    }
    Past {
        at,
        comment_count: comments.len() as u64,
        comments: comments.into_iter().rev().take(max).collect(),
        decisions: Vec::new(),
    }
}
