//! The origin as a session sees it: logs of several regions, and what it says of them.

use std::collections::{BTreeMap, BTreeSet};

use chorus_protocol::backhaul::StreamState;
use chorus_protocol::codes::RemovalReason;
use chorus_protocol::event::{AuthorRole, Envelope, Event, RemovalRecord, decision_key, kind};
use chorus_protocol::session::{Delivery, ReplayRange, Replayed};
use chorus_protocol::stream::{Life, Settings, StreamInfo, StreamStatus};
use chorus_protocol::{CommentId, CommentRecord, Millis, Offset, Position, Region};

/// The logs of one stream.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What is said of the stream.
    pub info: StreamInfo,
    /// The place of that in the control log.
    pub life_seq: u64,
    /// By region: the log's incarnation and what it holds. Sequences are those of a whole log, so they jump.
    pub logs: BTreeMap<Region, (u64, Vec<Event>)>,
}

impl Origin {
    /// A live stream with a log in each region.
    #[must_use]
    pub fn new(stream: &str, regions: &[&str]) -> Self {
        let info = StreamInfo {
            stream_id: stream.parse().unwrap(),
            title: "A stream".to_owned(),
            description: String::new(),
            broadcaster_id: "caster".parse().unwrap(),
            status: StreamStatus::Live,
            created_at_ms: Millis(1),
            settings: Settings::default(),
            home_region: None,
        };
        let log =
            |(i, region): (usize, &&str)| (region.parse().unwrap(), (100 + i as u64, Vec::new()));
        Self {
            info,
            life_seq: 1,
            logs: regions.iter().enumerate().map(log).collect(),
        }
    }

    /// Writes a comment to a region's log and gives back what a gateway would deliver.
    pub fn write(&mut self, region: &str, id: u64, content: &str) -> Delivery {
        let body = comment(self.info.stream_id.as_str(), id, content);
        self.store(region, body)
    }

    /// Writes the removal of a comment.
    pub fn remove(
        &mut self,
        region: &str,
        id: u64,
        target: u64,
        reason: RemovalReason,
    ) -> Delivery {
        let target = CommentId(target);
        let envelope = Envelope {
            id: CommentId(id),
            kind: kind::REMOVAL,
            stream: self.info.stream_id.as_str(),
            author: "ann",
            role: AuthorRole::User,
            key: decision_key(&self.info.stream_id, kind::REMOVAL, target, ""),
            target: Some(target),
            record: b"",
        };
        let body = envelope.write_record(&RemovalRecord::new(reason));
        self.store(region, body)
    }

    /// Writes an event to a region's log.
    pub fn store(&mut self, region: &str, body: Vec<u8>) -> Delivery {
        let region: Region = region.parse().unwrap();
        let (epoch, events) = self.logs.get_mut(&region).expect("a region");
        let from = events.last().map_or(0, |event| event.seq);
        // Other streams write to the same log.
        let to = from + 1 + from % 3;
        let event = Event {
            region: region.clone(),
            epoch: *epoch,
            seq: to,
            body,
        };
        events.push(event.clone());
        Delivery {
            region,
            epoch: *epoch,
            from,
            to,
            events: vec![event],
        }
    }

    /// Says something new of the stream.
    pub fn change(&mut self, change: impl FnOnce(&mut StreamInfo)) -> Life {
        change(&mut self.info);
        self.life_seq += 1;
        Life {
            info: self.info.clone(),
            seq: self.life_seq,
        }
    }

    /// Where the logs stand.
    #[must_use]
    pub fn at(&self) -> Position {
        let stand = |(region, (epoch, events)): (&Region, &(u64, Vec<Event>))| {
            let seq = events.last().map_or(0, |event| event.seq);
            (region.clone(), Offset { epoch: *epoch, seq })
        };
        Position(self.logs.iter().map(stand).collect())
    }

    /// Every event of every log, by its id.
    fn sorted(&self) -> Vec<Event> {
        let mut all: Vec<Event> = self
            .logs
            .values()
            .flat_map(|(_, events)| events.iter().cloned())
            .collect();
        all.sort_by_cached_key(|event| envelope(&event.body).id);
        all
    }

    /// The comments that were taken away.
    #[must_use]
    pub fn removed(&self) -> BTreeSet<u64> {
        let events = self.logs.values().flat_map(|(_, events)| events);
        let removed = events.filter_map(|event| envelope(&event.body).removes());
        removed.map(|id| id.0).collect()
    }

    /// How the stream stands, with its 50 newest.
    #[must_use]
    pub fn state(&self) -> StreamState {
        let removed = self.removed();
        let mut newest = self.sorted();
        newest.retain(|event| {
            let envelope = envelope(&event.body);
            envelope.is_comment() && !removed.contains(&envelope.id.0)
        });
        let comment_count = newest.len() as u64;
        newest.drain(..newest.len().saturating_sub(50));
        StreamState {
            info: self.info.clone(),
            life_seq: self.life_seq,
            at: self.at(),
            newest,
            comment_count,
            reactions: BTreeMap::from([("like".to_owned(), 3)]),
            viewer_count: 1,
        }
    }

    /// What the logs hold in a range.
    #[must_use]
    pub fn replay(&self, range: &ReplayRange) -> Replayed {
        let within = |event: &Event| {
            let (Some(from), Some(to)) =
                (range.from.get(&event.region), range.to.get(&event.region))
            else {
                return false;
            };
            to.epoch == event.epoch && event.seq > from.seq && event.seq <= to.seq
        };
        let events: Vec<Event> = self.sorted().into_iter().filter(within).collect();
        let other_epoch = range.from.0.iter().any(|(region, offset)| {
            self.logs
                .get(region)
                .is_none_or(|(epoch, _)| *epoch != offset.epoch)
        });
        if other_epoch || events.len() > range.events_max as usize {
            return Replayed {
                gap: true,
                events: Vec::new(),
            };
        }
        Replayed { gap: false, events }
    }
}

/// A comment as a log holds it.
#[must_use]
pub fn comment(stream: &str, id: u64, content: &str) -> Vec<u8> {
    let envelope = Envelope {
        id: CommentId(id),
        kind: kind::COMMENT,
        stream,
        author: "ann",
        role: AuthorRole::User,
        key: id.into(),
        target: None,
        record: b"",
    };
    envelope.write_record(&CommentRecord {
        username: "Ann".to_owned(),
        content: content.to_owned(),
        created_at_ms: Millis(1),
        parent_id: None,
        mentions: Vec::new(),
        media_ms: None,
        badges: Vec::new(),
    })
}

/// The envelope of an event's body.
#[must_use]
pub fn envelope(body: &[u8]) -> Envelope<'_> {
    Envelope::read(body).expect("an event")
}
