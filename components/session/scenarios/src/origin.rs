//! The origin as a session sees it: logs of several regions, and what it says of them.

use std::collections::BTreeMap;

use chorus_protocol::backhaul::{Item, ItemKind, StreamState};
use chorus_protocol::session::{Delivery, ReplayRange, Replayed};
use chorus_protocol::stream::{Life, Settings, StreamInfo, StreamStatus};
use chorus_protocol::{Comment, CommentId, CommentRecord, Millis, Offset, Position, Region};

/// The logs of one stream.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What is said of the stream.
    pub info: StreamInfo,
    /// The place of that in the control log.
    pub life_seq: u64,
    /// By region: the log's incarnation and what it holds. Sequences are those of a whole log, so they jump.
    pub logs: BTreeMap<Region, (u64, Vec<Item>)>,
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
        let record = record(self.info.stream_id.as_str(), id, content);
        self.store(region, rmp_serde::to_vec_named(&record).unwrap())
    }

    /// Writes a record to a region's log.
    pub fn store(&mut self, region: &str, record: Vec<u8>) -> Delivery {
        let region: Region = region.parse().unwrap();
        let (epoch, items) = self.logs.get_mut(&region).expect("a region");
        let from = items.last().map_or(0, |item| item.seq);
        // Other streams write to the same log.
        let to = from + 1 + from % 3;
        let item = Item {
            region: region.clone(),
            epoch: *epoch,
            seq: to,
            kind: ItemKind::Comment,
            record,
        };
        items.push(item.clone());
        Delivery {
            region,
            epoch: *epoch,
            from,
            to,
            items: vec![item],
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
        let stand = |(region, (epoch, items)): (&Region, &(u64, Vec<Item>))| {
            let seq = items.last().map_or(0, |item| item.seq);
            (region.clone(), Offset { epoch: *epoch, seq })
        };
        Position(self.logs.iter().map(stand).collect())
    }

    /// Every item of every log, by comment id.
    fn sorted(&self) -> Vec<Item> {
        let mut all: Vec<Item> = self
            .logs
            .values()
            .flat_map(|(_, items)| items.iter().cloned())
            .collect();
        all.sort_by_cached_key(|item| id_of(&item.record));
        all
    }

    /// How the stream stands, with its 50 newest.
    #[must_use]
    pub fn state(&self) -> StreamState {
        let mut newest = self.sorted();
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
        let within = |item: &Item| {
            let (Some(from), Some(to)) = (range.from.get(&item.region), range.to.get(&item.region))
            else {
                return false;
            };
            to.epoch == item.epoch && item.seq > from.seq && item.seq <= to.seq
        };
        let items: Vec<Item> = self.sorted().into_iter().filter(within).collect();
        let other_epoch = range.from.0.iter().any(|(region, offset)| {
            self.logs
                .get(region)
                .is_none_or(|(epoch, _)| *epoch != offset.epoch)
        });
        if other_epoch || items.len() > range.items_max as usize {
            return Replayed {
                gap: true,
                items: Vec::new(),
            };
        }
        Replayed { gap: false, items }
    }
}

/// A comment as a log holds it.
#[must_use]
pub fn record(stream: &str, id: u64, content: &str) -> CommentRecord {
    CommentRecord {
        comment: Comment {
            id: CommentId(id),
            stream_id: stream.parse().unwrap(),
            user_id: "ann".parse().unwrap(),
            username: "Ann".to_owned(),
            content: content.to_owned(),
            created_at_ms: Millis(1),
            parent_id: None,
            mentions: Vec::new(),
            media_ms: None,
            highlighted: false,
            pinned: false,
            likes: 0,
            badges: Vec::new(),
        },
        client_id: format!("c{id}").parse().unwrap(),
    }
}

/// The comment's id in a record.
#[must_use]
pub fn id_of(record: &[u8]) -> u64 {
    let record: CommentRecord = rmp_serde::from_slice(record).expect("a record");
    record.comment.id.0
}
