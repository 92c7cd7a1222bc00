//! One log: messages under subjects, repeats known by their ids.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use tokio::time::Instant;

use crate::log::Part;
use crate::log::publish::DUPLICATE_WINDOW;

#[derive(Clone)]
pub(super) struct Message {
    pub(super) subject: String,
    /// What repeats are known by.
    pub(super) id: Option<String>,
    pub(super) payload: Bytes,
}

/// How a message was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Stored {
        seq: u64,
        previous: u64,
    },
    Duplicate {
        seq: u64,
    },
    /// Another message came before it, or the log is sealed.
    Refused,
}

pub(super) struct Stored {
    created_ms: u64,
    /// Whether of a subject only the last message is kept.
    last_only: bool,
    pub(super) sealed: bool,
    messages: BTreeMap<u64, Message>,
    last_seq: u64,
    last_of: BTreeMap<String, u64>,
    ids: HashMap<String, (u64, Instant)>,
}

impl Stored {
    pub(super) fn new(created_ms: u64, last_only: bool) -> Self {
        Self {
            created_ms,
            last_only,
            sealed: false,
            messages: BTreeMap::new(),
            last_seq: 0,
            last_of: BTreeMap::new(),
            ids: HashMap::new(),
        }
    }

    pub(super) fn part(&self) -> Part {
        let first = self.messages.first_key_value();
        Part {
            created_ms: self.created_ms,
            // As the server says it of an empty log.
            first_seq: first.map_or(self.last_seq + u64::from(self.last_seq > 0), |(seq, _)| {
                *seq
            }),
            last_seq: self.last_seq,
        }
    }

    /// `after`: only where the subject's last sequence is this one.
    pub(super) fn put(&mut self, message: Message, after: Option<u64>, now: Instant) -> Put {
        let previous = self.last_of.get(&message.subject).copied().unwrap_or(0);
        if self.sealed || after.is_some_and(|after| after != previous) {
            return Put::Refused;
        }
        if let Some(id) = &message.id {
            if let Some(seq) = self.find(id, now) {
                return Put::Duplicate { seq };
            }
            self.ids.insert(id.clone(), (self.last_seq + 1, now));
        }
        self.last_seq += 1;
        let seq = self.last_seq;
        if self.last_only {
            self.messages.remove(&previous);
        }
        self.last_of.insert(message.subject.clone(), seq);
        self.messages.insert(seq, message);
        Put::Stored { seq, previous }
    }

    /// Takes a message of the log that this one mirrors, under the same sequence.
    pub(super) fn copy(&mut self, seq: u64, message: Message) {
        self.last_seq = seq;
        self.last_of.insert(message.subject.clone(), seq);
        self.messages.insert(seq, message);
    }

    /// The first message with an id, within the window.
    pub(super) fn find(&self, id: &str, now: Instant) -> Option<u64> {
        let (seq, at) = self.ids.get(id)?;
        (now - *at < DUPLICATE_WINDOW).then_some(*seq)
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Message> {
        self.messages.get(&seq)
    }

    /// Messages under a subject from a sequence on, in their order.
    pub(super) fn from<'a>(
        &'a self,
        pattern: &'a str,
        from: u64,
    ) -> impl Iterator<Item = (u64, &'a Message)> {
        let after = self.messages.range(from..);
        let after = after.map(|(seq, message)| (*seq, message));
        after.filter(|(_, message)| matches(pattern, &message.subject))
    }

    /// The last message of each subject, in their order.
    pub(super) fn last_of(&self, pattern: &str) -> Vec<(u64, &Message)> {
        let subjects = self.last_of.iter();
        let mut seqs: Vec<u64> = subjects
            .filter(|(subject, _)| matches(pattern, subject))
            .map(|(_, seq)| *seq)
            .collect();
        seqs.sort_unstable();
        seqs.into_iter()
            .filter_map(|seq| Some((seq, self.messages.get(&seq)?)))
            .collect()
    }
}

/// Whether a subject is of a pattern, in which `*` is any one part.
pub(super) fn matches(pattern: &str, subject: &str) -> bool {
    let mut parts = subject.split('.');
    pattern
        .split('.')
        .all(|of| parts.next().is_some_and(|part| of == "*" || of == part))
        && parts.next().is_none()
}
