//! Events: what a log holds, what is published, delivered, replayed, cached, stored and handed to the component.
//!
//! An event's body is written once, by the session that publishes it: an envelope that every part reads, and a record that
//! only its consumers read. Whatever only forwards passes the bytes on. A reader passes over kinds and fields it does not
//! know.
//!
//! The body is a MessagePack map with named fields in this order: `id`, `kind`, `stream`, `author`, `role` (not for plain
//! viewers), `key` (16 bytes, big-endian), `target` (of what is about another event), `record` (bytes).

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::codec::msgpack::{self, Reader};
use crate::codes::RemovalReason;
use crate::comment::Comment;
use crate::id::{CommentId, Region, StreamId, UserId};

/// Bytes of an event's body; a longer one is refused as `invalid`. A comment of 500 scalar values has about 2.5 KiB.
pub const EVENT_BYTES_MAX: usize = 32 << 10;

/// The kinds of events. A kind is a name, so that one of tomorrow passes through today's parts.
pub mod kind {
    /// A comment: [`crate::CommentRecord`].
    pub const COMMENT: &str = "comment";
    /// A comment is taken away: [`super::RemovalRecord`].
    pub const REMOVAL: &str = "removal";
    /// A comment is to be shown otherwise: [`super::CommentUpdate`].
    pub const UPDATE: &str = "update";
}

/// An event of a region's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Whose log.
    pub region: Region,
    /// Which incarnation of it.
    pub epoch: u64,
    /// Its sequence there.
    pub seq: u64,
    /// The envelope and the record, as published.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

impl Event {
    /// Its envelope; `None` when the body is none of an event.
    #[must_use]
    pub fn envelope(&self) -> Option<Envelope<'_>> {
        Envelope::read(&self.body)
    }
}

/// What an author is in a stream, by its token and the stream's broadcaster.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum AuthorRole {
    /// A viewer with a token.
    #[default]
    User,
    /// The stream's modes do not hold.
    Moderator,
    /// As a moderator.
    Broadcaster,
    /// The platform's own service: rates do not hold either.
    Admin,
}

impl AuthorRole {
    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Moderator => "moderator",
            Self::Broadcaster => "broadcaster",
            Self::Admin => "admin",
        }
    }

    /// The role of this name; one that is not known has no rights.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "moderator" => Self::Moderator,
            "broadcaster" => Self::Broadcaster,
            "admin" => Self::Admin,
            _ => Self::User,
        }
    }

    /// May decide about others' comments, and is exempt from a stream's modes.
    #[must_use]
    pub fn moderates(self) -> bool {
        self >= Self::Moderator
    }
}

/// What every part reads of an event, without a copy. `stream` and `author` are not checked, see [`Envelope::stream_id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Minted by the session; sorting by it sorts by time. A comment is known by its event's id.
    pub id: CommentId,
    /// See [`kind`].
    pub kind: &'a str,
    /// Which stream it belongs to.
    pub stream: &'a str,
    /// Whose doing it is.
    pub author: &'a str,
    /// What its author is in the stream.
    pub role: AuthorRole,
    /// The log's message id: the same for every try of the same thing.
    pub key: u128,
    /// The event it is about: for a decision the comment.
    pub target: Option<CommentId>,
    /// What its consumers read.
    pub record: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads a body; `None` when it is none of an event.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Option<Self> {
        Self::read_ours(body).or_else(|| Self::read_any(body))
    }

    /// Reads one whose fields are in the order in which we write them.
    fn read_ours(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        let fields = reader.map()?;
        reader.exactly(b"\xa2id").then_some(())?;
        let id = CommentId(reader.number()?);
        reader.exactly(b"\xa4kind").then_some(())?;
        let kind = reader.text()?;
        reader.exactly(b"\xa6stream").then_some(())?;
        let stream = reader.text()?;
        reader.exactly(b"\xa6author").then_some(())?;
        let author = reader.text()?;
        let mut count = 6;
        let mut role = AuthorRole::User;
        if reader.exactly(b"\xa4role") {
            role = AuthorRole::parse(reader.text()?);
            count += 1;
        }
        reader.exactly(b"\xa3key").then_some(())?;
        let key = u128::from_be_bytes(reader.binary()?.try_into().ok()?);
        let mut target = None;
        if reader.exactly(b"\xa6target") {
            target = Some(CommentId(reader.number()?));
            count += 1;
        }
        reader.exactly(b"\xa6record").then_some(())?;
        let record = reader.binary()?;
        // A field that is not as we write it is counted neither here nor there.
        (fields == count && reader.rest().is_empty()).then_some(Self {
            id,
            kind,
            stream,
            author,
            role,
            key,
            target,
            record,
        })
    }

    fn read_any(body: &'a [u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Any<'a> {
            id: CommentId,
            kind: &'a str,
            stream: &'a str,
            author: &'a str,
            #[serde(default)]
            role: Option<&'a str>,
            #[serde(borrow)]
            key: &'a serde_bytes::Bytes,
            #[serde(default)]
            target: Option<CommentId>,
            #[serde(borrow)]
            record: &'a serde_bytes::Bytes,
        }
        let any: Any<'_> = rmp_serde::from_slice(body).ok()?;
        Some(Self {
            id: any.id,
            kind: any.kind,
            stream: any.stream,
            author: any.author,
            role: any.role.map_or(AuthorRole::User, AuthorRole::parse),
            key: u128::from_be_bytes(any.key.as_ref().try_into().ok()?),
            target: any.target,
            record: any.record,
        })
    }

    /// The body around a record that is written in place by `record`, of about `record_bytes`. [`Self::record`] is not
    /// looked at.
    #[must_use]
    pub fn write(&self, record_bytes: usize, record: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::with_capacity(
            96 + self.kind.len() + self.stream.len() + self.author.len() + record_bytes,
        );
        let more = usize::from(self.role != AuthorRole::User) + usize::from(self.target.is_some());
        out.push(0x86 + more as u8);
        out.extend_from_slice(b"\xa2id");
        msgpack::write_number(&mut out, self.id.0);
        out.extend_from_slice(b"\xa4kind");
        msgpack::write_text(&mut out, self.kind);
        out.extend_from_slice(b"\xa6stream");
        msgpack::write_text(&mut out, self.stream);
        out.extend_from_slice(b"\xa6author");
        msgpack::write_text(&mut out, self.author);
        if self.role != AuthorRole::User {
            out.extend_from_slice(b"\xa4role");
            msgpack::write_text(&mut out, self.role.as_str());
        }
        out.extend_from_slice(b"\xa3key\xc4\x10");
        out.extend_from_slice(&self.key.to_be_bytes());
        if let Some(target) = self.target {
            out.extend_from_slice(b"\xa6target");
            msgpack::write_number(&mut out, target.0);
        }
        // The length is known when the record is written: 16 bits hold what an event may have.
        out.extend_from_slice(b"\xa6record\xc5\0\0");
        let begin = out.len();
        record(&mut out);
        let length = u16::try_from(out.len() - begin).unwrap_or(u16::MAX);
        out[begin - 2..begin].copy_from_slice(&length.to_be_bytes());
        out
    }

    /// The body around a record that is [`Serialize`].
    #[must_use]
    pub fn write_record<T: Serialize>(&self, record: &T) -> Vec<u8> {
        // Writing texts and numbers into memory cannot fail.
        let record = rmp_serde::to_vec_named(record).unwrap_or_default();
        self.write(record.len(), |out| out.extend_from_slice(&record))
    }

    /// The record as a `T`; fields that are not known are passed over.
    #[must_use]
    pub fn record_as<T: Deserialize<'a>>(&self) -> Option<T> {
        rmp_serde::from_slice(self.record).ok()
    }

    /// The stream's id, when it is one.
    #[must_use]
    pub fn stream_id(&self) -> Option<StreamId> {
        StreamId::new(self.stream).ok()
    }

    /// The author's id, when it is one.
    #[must_use]
    pub fn author_id(&self) -> Option<UserId> {
        UserId::new(self.author).ok()
    }

    /// Whether it is a comment.
    #[must_use]
    pub fn is_comment(&self) -> bool {
        self.kind == kind::COMMENT
    }

    /// The comment it takes away, when it is a removal.
    #[must_use]
    pub fn removes(&self) -> Option<CommentId> {
        self.target.filter(|_| self.kind == kind::REMOVAL)
    }

    /// What it says about its target; `None` when it is no decision of a kind that is known.
    #[must_use]
    pub fn decision(&self) -> Option<Decision> {
        let target = self.target?;
        match self.kind {
            kind::REMOVAL => {
                let record = self.record_as();
                // Whatever its record says, the comment is not to be seen.
                let record = record.unwrap_or_else(|| RemovalRecord::new(RemovalReason::Moderator));
                let reason = record.reason;
                Some(Decision::Removal { target, reason })
            }
            kind::UPDATE => self
                .record_as()
                .map(|update| Decision::Update { target, update }),
            _ => None,
        }
    }
}

/// Why a comment was taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalRecord {
    /// The name of a [`RemovalReason`], or one of a later version.
    pub reason: String,
}

impl RemovalRecord {
    /// With a reason of ours.
    #[must_use]
    pub fn new(reason: RemovalReason) -> Self {
        Self {
            reason: reason.as_str().to_owned(),
        }
    }
}

/// What a decision changes of the comment it is about; what is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommentUpdate {
    /// Highlighted by a moderator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highlighted: Option<bool>,
    /// Pinned by a moderator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
}

impl CommentUpdate {
    /// Changes a comment.
    pub fn apply(self, comment: &mut Comment) {
        comment.highlighted = self.highlighted.unwrap_or(comment.highlighted);
        comment.pinned = self.pinned.unwrap_or(comment.pinned);
    }

    /// Both, the later one of two that speak of one field.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            highlighted: later.highlighted.or(self.highlighted),
            pinned: later.pinned.or(self.pinned),
        }
    }
}

/// What was decided about a comment, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is taken away.
    Removal {
        /// Which comment.
        target: CommentId,
        /// The name of a [`RemovalReason`], or one of a later version.
        reason: String,
    },
    /// It is shown otherwise.
    Update {
        /// Which comment.
        target: CommentId,
        /// What changes.
        update: CommentUpdate,
    },
}

/// Ids of one stream's removed comments, so that neither a removal that overtakes its comment nor a slow replay brings one
/// back. At most [`Removed::MAX`]; the oldest is forgotten.
#[derive(Debug, Default)]
pub struct Removed {
    ids: BTreeSet<CommentId>,
    order: VecDeque<CommentId>,
}

impl Removed {
    /// How many are remembered.
    pub const MAX: usize = 10_000;

    /// Whether a comment was taken away.
    #[must_use]
    pub fn contains(&self, id: CommentId) -> bool {
        self.ids.contains(&id)
    }

    /// Remembers a removed comment.
    pub fn insert(&mut self, id: CommentId) {
        if !self.ids.insert(id) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > Self::MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// The log's message id of a decision about a comment: the same for every try, by whomever, of the same decision.
/// `what` tells a decision from its opposite and from later ones.
#[must_use]
pub fn decision_key(stream: &StreamId, kind: &str, target: CommentId, what: &str) -> u128 {
    crate::comment::key_of(&["decision", stream.as_str(), kind, &target.to_string(), what])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope<'static> {
        Envelope {
            id: CommentId(9_000_000_000),
            kind: kind::COMMENT,
            stream: "demo",
            author: "user 1",
            role: AuthorRole::User,
            key: u128::MAX - 7,
            target: None,
            record: b"",
        }
    }

    #[test]
    fn a_body_is_read_as_it_is_written_by_both_readers() {
        for (role, target) in [
            (AuthorRole::User, None),
            (AuthorRole::Moderator, None),
            (AuthorRole::User, Some(CommentId(5))),
            (AuthorRole::Admin, Some(CommentId(u64::MAX >> 1))),
        ] {
            for size in [0, 1, 40, 300, 20_000] {
                let record = vec![7; size];
                let envelope = Envelope {
                    role,
                    target,
                    record: &record,
                    ..envelope()
                };
                let body = envelope.write(size, |out| out.extend_from_slice(&record));
                assert_eq!(Envelope::read_ours(&body), Some(envelope));
                assert_eq!(Envelope::read_any(&body), Some(envelope));
                for end in (0..body.len()).rev().take(60) {
                    assert_eq!(Envelope::read(&body[..end]), None);
                }
            }
        }
    }

    #[test]
    fn fields_of_tomorrow_and_another_order_are_read_too() {
        let record = RemovalRecord::new(RemovalReason::Moderator);
        let ours = Envelope {
            kind: kind::REMOVAL,
            target: Some(CommentId(3)),
            role: AuthorRole::Broadcaster,
            ..envelope()
        };
        let body = ours.write_record(&record);
        let other = msgpack::of_tomorrow(&body);
        assert_eq!(Envelope::read_ours(&other), None);
        let read = Envelope::read(&other).expect("is read");
        assert_eq!(Some(read), Envelope::read(&body));
        assert_eq!(read.removes(), Some(CommentId(3)));
        let decision = Decision::Removal {
            target: CommentId(3),
            reason: "moderator".to_owned(),
        };
        assert_eq!(read.decision(), Some(decision));
        assert_eq!(read.record_as::<RemovalRecord>(), Some(record));
    }

    #[test]
    fn a_kind_of_tomorrow_is_an_event_like_any_other() {
        let body = Envelope {
            kind: "applause",
            ..envelope()
        }
        .write_record(&serde_json::json!({"hands": 2}));
        let read = Envelope::read(&body).expect("is read");
        assert_eq!((read.kind, read.is_comment()), ("applause", false));
        assert_eq!((read.removes(), read.decision()), (None, None));
    }

    #[test]
    fn of_two_updates_the_later_one_counts_for_what_it_speaks_of() {
        let update = |highlighted, pinned| CommentUpdate {
            highlighted,
            pinned,
        };
        let first = update(Some(true), None);
        assert_eq!(
            first.then(update(None, Some(true))),
            update(Some(true), Some(true))
        );
        assert_eq!(
            first.then(update(Some(false), None)),
            update(Some(false), None)
        );
    }

    #[test]
    fn an_update_says_what_changes_and_nothing_else() {
        let target = CommentId(3);
        let ours = Envelope {
            kind: kind::UPDATE,
            target: Some(target),
            ..envelope()
        };
        let update = CommentUpdate {
            highlighted: Some(false),
            pinned: None,
        };
        let body = ours.write_record(&update);
        let read = Envelope::read(&body).expect("is read");
        assert_eq!(read.decision(), Some(Decision::Update { target, update }));
        // Fields of tomorrow are passed over; what is none of an update decides nothing.
        let body = ours.write_record(&serde_json::json!({"highlighted": false, "glow": 3}));
        let read = Envelope::read(&body).expect("is read");
        assert_eq!(read.decision(), Some(Decision::Update { target, update }));
        let body = ours.write_record(&3);
        assert_eq!(Envelope::read(&body).expect("is read").decision(), None);
    }

    #[test]
    fn of_too_many_removals_the_oldest_is_forgotten() {
        let mut removed = Removed::default();
        for id in 0..=Removed::MAX as u64 {
            removed.insert(CommentId(id));
            removed.insert(CommentId(id));
        }
        assert_eq!(
            (removed.ids.len(), removed.order.len()),
            (Removed::MAX, Removed::MAX)
        );
        assert!(!removed.contains(CommentId(0)));
        assert!(removed.contains(CommentId(Removed::MAX as u64)));
    }
}
