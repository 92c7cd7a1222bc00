//! A comment as viewers see it, and as the record of its event.

use serde::{Deserialize, Serialize};

use crate::codec::msgpack::{self, Reader};
use crate::event::Envelope;
use crate::id::{ClientId, CommentId, StreamId, UserId};
use crate::time::Millis;

/// A comment as viewers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// Its id; sorting by it sorts by time.
    pub id: CommentId,
    /// The broadcast it belongs to.
    pub stream_id: StreamId,
    /// Who wrote it.
    pub user_id: UserId,
    /// The name shown.
    pub username: String,
    /// 1 to 500 Unicode scalar values, trimmed.
    pub content: String,
    /// When the PoP took it.
    pub created_at_ms: Millis,
    /// The comment it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<CommentId>,
    /// Usernames it mentions, without the `@`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// Where in the video it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_ms: Option<u64>,
    /// Highlighted by a moderator.
    #[serde(default, skip_serializing_if = "is_false")]
    pub highlighted: bool,
    /// Pinned by a moderator.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pinned: bool,
    /// How many like it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub likes: u64,
    /// What its author is here: `broadcaster`, `moderator`, `admin`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub badges: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// The record of a comment's event: what its envelope does not say. Named fields, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommentRecord {
    /// The name shown.
    pub username: String,
    /// 1 to 500 Unicode scalar values, trimmed.
    pub content: String,
    /// When the PoP took it.
    pub created_at_ms: Millis,
    /// The comment it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<CommentId>,
    /// Usernames it mentions, without the `@`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// Where in the video it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_ms: Option<u64>,
    /// What its author is here: `broadcaster`, `moderator`, `admin`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub badges: Vec<String>,
}

/// A comment as its event says it, without a copy of its texts; `stream_id` and `user_id` are not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommentView<'a> {
    /// Its id; sorting by it sorts by time.
    pub id: CommentId,
    /// The broadcast it belongs to.
    pub stream_id: &'a str,
    /// Who wrote it.
    pub user_id: &'a str,
    /// The name shown.
    pub username: &'a str,
    /// What was written.
    pub content: &'a str,
    /// When the PoP took it.
    pub created_at_ms: Millis,
    /// The comment it answers.
    pub parent_id: Option<CommentId>,
    /// Usernames it mentions, without the `@`.
    pub mentions: Vec<&'a str>,
    /// Where in the video it was written.
    pub media_ms: Option<u64>,
    /// What its author is here.
    pub badges: Vec<&'a str>,
}

impl<'a> CommentView<'a> {
    /// Reads the comment of an event; `None` when it is none, or its record cannot be read.
    #[must_use]
    pub fn read(envelope: &Envelope<'a>) -> Option<Self> {
        if !envelope.is_comment() {
            return None;
        }
        let mut comment = Self::read_ours(envelope).or_else(|| Self::read_any(envelope))?;
        // A record may name a parent that no comment can have.
        comment.parent_id = comment.parent_id.filter(|&id| id <= CommentId::MAX);
        Some(comment)
    }

    /// Reads a record whose fields are in the order in which we write them.
    fn read_ours(envelope: &Envelope<'a>) -> Option<Self> {
        let mut reader = Reader::new(envelope.record);
        let reader = &mut reader;
        let fields = reader.map()?;
        reader.exactly(b"\xa8username").then_some(())?;
        let username = reader.text()?;
        reader.exactly(b"\xa7content").then_some(())?;
        let content = reader.text()?;
        reader.exactly(b"\xadcreated_at_ms").then_some(())?;
        let created_at_ms = Millis(reader.number()?);
        let mut comment = Self {
            id: envelope.id,
            stream_id: envelope.stream,
            user_id: envelope.author,
            username,
            content,
            created_at_ms,
            parent_id: None,
            mentions: Vec::new(),
            media_ms: None,
            badges: Vec::new(),
        };
        if reader.exactly(b"\xa9parent_id") {
            comment.parent_id = Some(CommentId(reader.number()?));
        }
        if reader.exactly(b"\xa8mentions") {
            comment.mentions = texts(reader)?;
        }
        if reader.exactly(b"\xa8media_ms") {
            comment.media_ms = Some(reader.number()?);
        }
        if reader.exactly(b"\xa6badges") {
            comment.badges = texts(reader)?;
        }
        // A field that is not as we write it is counted neither here nor there.
        (comment.field_count() == fields && reader.rest().is_empty()).then_some(comment)
    }

    fn read_any(envelope: &Envelope<'a>) -> Option<Self> {
        #[derive(Deserialize)]
        struct Any<'a> {
            username: &'a str,
            content: &'a str,
            created_at_ms: Millis,
            #[serde(default)]
            parent_id: Option<CommentId>,
            #[serde(default, borrow)]
            mentions: Vec<&'a str>,
            #[serde(default)]
            media_ms: Option<u64>,
            #[serde(default, borrow)]
            badges: Vec<&'a str>,
        }
        let any: Any<'_> = envelope.record_as()?;
        Some(Self {
            id: envelope.id,
            stream_id: envelope.stream,
            user_id: envelope.author,
            username: any.username,
            content: any.content,
            created_at_ms: any.created_at_ms,
            parent_id: any.parent_id,
            mentions: any.mentions,
            media_ms: any.media_ms,
            badges: any.badges,
        })
    }

    /// Fields of the record that are written.
    fn field_count(&self) -> usize {
        let more = [
            self.parent_id.is_some(),
            !self.mentions.is_empty(),
            self.media_ms.is_some(),
            !self.badges.is_empty(),
        ];
        3 + more.into_iter().map(usize::from).sum::<usize>()
    }

    /// About how many bytes its texts and the fields' names have.
    #[must_use]
    pub fn bytes_about(&self) -> usize {
        let texts = [self.stream_id, self.user_id, self.username, self.content];
        let lists = self.mentions.iter().chain(&self.badges);
        let texts = texts.iter().chain(lists);
        texts.map(|text| text.len() + 3).sum::<usize>() + 128
    }

    /// Appends the record, as `rmp_serde::encode::write_named` writes a [`CommentRecord`].
    pub fn write_record(&self, out: &mut Vec<u8>) {
        // 7 at the most.
        out.push(0x80 | self.field_count() as u8);
        out.extend_from_slice(b"\xa8username");
        msgpack::write_text(out, self.username);
        out.extend_from_slice(b"\xa7content");
        msgpack::write_text(out, self.content);
        out.extend_from_slice(b"\xadcreated_at_ms");
        msgpack::write_number(out, self.created_at_ms.0);
        if let Some(parent) = self.parent_id {
            out.extend_from_slice(b"\xa9parent_id");
            msgpack::write_number(out, parent.0);
        }
        msgpack::write_texts(out, b"\xa8mentions", &self.mentions);
        if let Some(ms) = self.media_ms {
            out.extend_from_slice(b"\xa8media_ms");
            msgpack::write_number(out, ms);
        }
        msgpack::write_texts(out, b"\xa6badges", &self.badges);
    }

    /// The same with texts of its own; `None` when an id is none.
    #[must_use]
    pub fn to_comment(&self) -> Option<Comment> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Some(Comment {
            id: self.id,
            stream_id: StreamId::new(self.stream_id).ok()?,
            user_id: UserId::new(self.user_id).ok()?,
            username: self.username.to_owned(),
            content: self.content.to_owned(),
            created_at_ms: self.created_at_ms,
            parent_id: self.parent_id,
            mentions: owned(&self.mentions),
            media_ms: self.media_ms,
            highlighted: false,
            pinned: false,
            likes: 0,
            badges: owned(&self.badges),
        })
    }
}

fn texts<'a>(reader: &mut Reader<'a>) -> Option<Vec<&'a str>> {
    (0..reader.array()?).map(|_| reader.text()).collect()
}

/// The log's message id of a post: the same for every try of the same (stream, user, `client_id`).
#[must_use]
pub fn post_key(stream: &StreamId, user: &UserId, client_id: &ClientId) -> u128 {
    key_of(&[stream.as_str(), user.as_str(), client_id.as_str()])
}

/// A hash of several texts in their order.
#[must_use]
pub(crate) fn key_of(parts: &[&str]) -> u128 {
    let mut bytes = Vec::with_capacity(256);
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    xxhash_rust::xxh3::xxh3_128(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{AuthorRole, kind};

    fn records() -> impl Iterator<Item = CommentRecord> {
        let sizes = [1, 31, 32, 255, 256, 2_000];
        (0..16_u32).flat_map(move |fields| {
            let has = move |field: u32| fields & (1 << field) != 0;
            sizes.map(move |size| CommentRecord {
                username: "Zo\u{eb} \u{2028}".to_owned(),
                content: "\u{e9}\"".repeat(size),
                created_at_ms: Millis(1 << (size % 64)),
                parent_id: has(0).then_some(CommentId(u64::MAX >> 1)),
                mentions: if has(1) {
                    vec!["@".repeat(size); 17]
                } else {
                    vec![]
                },
                media_ms: has(2).then_some(size as u64),
                badges: if has(3) {
                    vec!["admin".to_owned()]
                } else {
                    vec![]
                },
            })
        })
    }

    fn envelope(record: &[u8]) -> Envelope<'_> {
        Envelope {
            id: CommentId(9_000_000_000),
            kind: kind::COMMENT,
            stream: "demo",
            author: "user 1",
            role: AuthorRole::Moderator,
            key: 5,
            target: None,
            record,
        }
    }

    #[test]
    fn a_record_is_read_and_written_by_hand_as_serde_does() {
        for record in records() {
            let bytes = rmp_serde::to_vec_named(&record).expect("writes");
            let view = CommentView::read_ours(&envelope(&bytes)).expect("ours");
            assert_eq!(
                CommentView::read_any(&envelope(&bytes)).as_ref(),
                Some(&view)
            );
            let mut again = Vec::new();
            view.write_record(&mut again);
            assert_eq!(again, bytes);
            let comment = view.to_comment().expect("is one");
            assert_eq!(comment.content, record.content);
            assert_eq!(comment.mentions, record.mentions);
            assert_eq!(comment.badges, record.badges);
        }
    }

    #[test]
    fn a_record_in_another_form_is_read_the_slow_way() {
        let record = records().last().expect("there are some");
        let bytes = rmp_serde::to_vec_named(&record).expect("writes");
        let view = CommentView::read(&envelope(&bytes));
        let other = msgpack::of_tomorrow(&bytes);
        assert_eq!(CommentView::read_ours(&envelope(&other)), None);
        assert_eq!(CommentView::read(&envelope(&other)), view);
        for end in 0..bytes.len() {
            assert_eq!(CommentView::read(&envelope(&bytes[..end])), None);
        }
    }

    #[test]
    fn an_event_of_another_kind_is_no_comment() {
        let bytes = rmp_serde::to_vec_named(&records().next()).expect("writes");
        let other = Envelope {
            kind: kind::REMOVAL,
            ..envelope(&bytes)
        };
        assert_eq!(CommentView::read(&other), None);
    }
}
