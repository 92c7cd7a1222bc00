//! The newest comments of a stream, as they were shown: for who joins and who was away for a moment.

use std::collections::VecDeque;

use chorus_protocol::event::CommentUpdate;
use chorus_protocol::{CommentId, CommentView, Encoding, Millis, Offset, Position, Region};
use serde::{Deserialize, Serialize};

use crate::encode::{json_to_msgpack, updated_json, write_comment};

/// Comments older than this are kept only for who joins, in milliseconds.
pub(crate) const RECENT_MS: u64 = 60_000;

/// A comment of a region's log, encoded for viewers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: CommentId,
    /// Which of [`Recent::logs`].
    pub(crate) log: u16,
    pub(crate) seq: u64,
    /// When it came.
    pub(crate) at: Millis,
    #[serde(with = "serde_bytes")]
    pub(crate) json: Box<[u8]>,
    /// Made when the first viewer needs it.
    #[serde(skip)]
    pub(crate) msgpack: Option<Box<[u8]>>,
}

impl Entry {
    /// A comment at its place: which log, and the sequence there.
    pub(crate) fn new(comment: &CommentView<'_>, (log, seq): (u16, u64), at: Millis) -> Self {
        Self {
            id: comment.id,
            log,
            seq,
            at,
            json: write_comment(comment, Encoding::Json),
            msgpack: None,
        }
    }

    /// Changes the comment as viewers see it.
    pub(crate) fn update(&mut self, update: CommentUpdate) {
        self.json = updated_json(&self.json, update);
        self.msgpack = None;
    }

    /// Makes [`Self::encoded`] possible.
    pub(crate) fn prepare(&mut self, encoding: Encoding) {
        if encoding == Encoding::MsgPack && self.msgpack.is_none() {
            self.msgpack = Some(json_to_msgpack(&self.json));
        }
    }

    /// The comment as viewers of an encoding read it; prepared before.
    pub(crate) fn encoded(&self, encoding: Encoding) -> &[u8] {
        match encoding {
            Encoding::Json => &self.json,
            Encoding::MsgPack => self.msgpack.as_deref().unwrap_or_default(),
        }
    }
}

/// A log: a region's, in one incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Log {
    pub(crate) region: Region,
    pub(crate) epoch: u64,
}

/// Comments in the order in which they were shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Recent {
    pub(crate) entries: VecDeque<Entry>,
    pub(crate) logs: Vec<Log>,
    /// Everything shown after this is among the entries, and every decision among those remembered.
    pub(crate) floor: Position,
}

impl Recent {
    /// The number of a log; a new one gets the next.
    pub(crate) fn log(&mut self, region: &Region, epoch: u64) -> u16 {
        let known = self
            .logs
            .iter()
            .position(|log| log.epoch == epoch && log.region == *region);
        let index = known.unwrap_or_else(|| {
            self.logs.push(Log {
                region: region.clone(),
                epoch,
            });
            self.logs.len() - 1
        });
        // A stream sees a handful of logs in its life; past the type's end resumes ask the logs themselves.
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    /// Forgets what is too much or too old; calls `gone` for each.
    pub(crate) fn trim(
        &mut self,
        now: Millis,
        recent_max: u32,
        newest_max: u32,
        mut gone: impl FnMut(CommentId),
    ) {
        while let Some(front) = self.entries.front() {
            let len = self.entries.len();
            let old = len > newest_max as usize && now.since(front.at) > RECENT_MS;
            if len <= recent_max.max(newest_max) as usize && !old {
                break;
            }
            let (id, log, seq) = (front.id, front.log, front.seq);
            self.entries.pop_front();
            self.forget(log, seq);
            gone(id);
        }
    }

    /// Something at this place is no longer remembered.
    pub(crate) fn forget(&mut self, log: u16, seq: u64) {
        if let Some(log) = self.logs.get(usize::from(log))
            && self
                .floor
                .get(&log.region)
                .is_none_or(|floor| floor.epoch == log.epoch)
        {
            let at = Offset {
                epoch: log.epoch,
                seq,
            };
            self.floor.advance(&log.region, at);
        }
    }

    /// Whether all that was shown in `(from, to]` is here. `from` names every region of `to`, in its epoch.
    pub(crate) fn covers(&self, from: &Position, to: &Position) -> bool {
        to.0.iter().all(|(region, end)| {
            let begin = from.get(region).map_or(0, |offset| offset.seq);
            begin >= end.seq
                || self
                    .floor
                    .get(region)
                    .is_some_and(|floor| floor.epoch == end.epoch && begin >= floor.seq)
        })
    }

    /// Where each log stands at a place that names it.
    pub(crate) fn begins(&self, from: &Position) -> Vec<Option<u64>> {
        let begin = |log: &Log| match from.get(&log.region) {
            Some(offset) if offset.epoch == log.epoch => Some(offset.seq),
            _ => None,
        };
        self.logs.iter().map(begin).collect()
    }

    /// The indices of what was shown after `from`, by comment id.
    pub(crate) fn after(&self, from: &Position) -> Vec<usize> {
        let begins = self.begins(from);
        let missed = |entry: &Entry| {
            begins
                .get(usize::from(entry.log))
                .copied()
                .flatten()
                .is_some_and(|begin| entry.seq > begin)
        };
        let mut indices: Vec<usize> = (0..self.entries.len())
            .filter(|&i| self.entries.get(i).is_some_and(missed))
            .collect();
        indices.sort_by_key(|&i| self.entries.get(i).map(|entry| entry.id));
        indices
    }

    /// The indices of the newest, by comment id.
    pub(crate) fn newest(&self, newest_max: u32) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..self.entries.len()).collect();
        indices.sort_by_key(|&i| self.entries.get(i).map(|entry| entry.id));
        indices.split_off(indices.len().saturating_sub(newest_max as usize))
    }

    /// The comments at some indices.
    pub(crate) fn ids(&self, indices: &[usize]) -> impl Iterator<Item = CommentId> {
        let entries = indices.iter().filter_map(|&i| self.entries.get(i));
        entries.map(|entry| entry.id)
    }

    /// The comments at some indices, encoded.
    pub(crate) fn encoded(
        &mut self,
        indices: &[usize],
        encoding: Encoding,
    ) -> Vec<(CommentId, &[u8])> {
        for &i in indices {
            if let Some(entry) = self.entries.get_mut(i) {
                entry.prepare(encoding);
            }
        }
        indices
            .iter()
            .filter_map(|&i| self.entries.get(i))
            .map(|entry| (entry.id, entry.encoded(encoding)))
            .collect()
    }
}
