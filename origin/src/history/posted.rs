//! A post's record as the gateway looks at it: all of it is read, next to nothing of it is kept.

use chorus_protocol::{ClientId, CommentId, CommentView, StreamId, UserId};
use serde::Deserialize;

/// What a record says of the post it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The comment's id.
    pub id: CommentId,
    /// Who wrote it.
    pub user_id: UserId,
    /// The sender's idempotency key.
    pub client_id: ClientId,
    /// What its author is in the stream, by its badges.
    pub standing: Standing,
}

/// What the author of a post is in its stream, as far as limits go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A viewer with a token.
    #[default]
    User,
    /// The broadcaster or a moderator: the stream's modes do not hold.
    Moderator,
    /// The platform's own service: rates do not hold either.
    Admin,
}

impl Standing {
    /// The session gives a badge to whom its token and the stream's broadcaster say it is due.
    fn of_badges<'a>(badges: impl IntoIterator<Item = &'a str>) -> Self {
        let standing = |badge| match badge {
            "admin" => Self::Admin,
            "moderator" | "broadcaster" => Self::Moderator,
            _ => Self::User,
        };
        let all = badges.into_iter().map(standing);
        all.max().unwrap_or_default()
    }
}

/// What [`super::decode`] reads, without a copy of its texts; `None` also where the record is of another stream.
#[must_use]
pub fn posted(record: &[u8], stream: &StreamId) -> Option<Posted> {
    /// [`chorus_protocol::CommentRecord`], borrowed.
    #[derive(Deserialize)]
    struct Record<'a> {
        #[serde(borrow)]
        comment: CommentView<'a>,
        client_id: ClientId,
    }
    let Record { comment, client_id } = rmp_serde::from_slice(record).ok()?;
    let user_id = comment.user_id.parse().ok()?;
    (comment.stream_id == stream.as_str()).then_some(Posted {
        id: comment.id,
        user_id,
        client_id,
        standing: Standing::of_badges(comment.badges),
    })
}

#[cfg(test)]
mod tests {
    use chorus_protocol::{CommentRecord, Millis};

    use super::*;
    use crate::history::decode;

    fn stream() -> StreamId {
        "demo".parse().expect("a stream")
    }

    /// Every field is there: one that is added later is missed here by the compiler.
    fn full() -> CommentRecord {
        CommentRecord {
            comment: chorus_protocol::Comment {
                id: CommentId(9_000_000_000),
                stream_id: stream(),
                user_id: "user 1".parse().expect("a user"),
                username: "Zoë".to_owned(),
                content: "so true".to_owned(),
                created_at_ms: Millis(1_800_000_000_000),
                parent_id: Some(CommentId(300)),
                mentions: vec!["ann".to_owned(), "bob".to_owned()],
                media_ms: Some(70_000),
                highlighted: true,
                pinned: true,
                likes: 3,
                badges: vec!["moderator".to_owned()],
            },
            client_id: "c-1".parse().expect("a client id"),
        }
    }

    fn short() -> CommentRecord {
        let mut record = full();
        record.comment.parent_id = None;
        record.comment.media_ms = None;
        record.comment.mentions.clear();
        record.comment.badges.clear();
        record.comment.highlighted = false;
        record.comment.pinned = false;
        record.comment.likes = 0;
        record
    }

    /// The records with and without names, as the log may hold them.
    fn encoded() -> Vec<Vec<u8>> {
        let records = [full(), short()];
        records
            .iter()
            .flat_map(|record| [rmp_serde::to_vec_named(record), rmp_serde::to_vec(record)])
            .map(|bytes| bytes.expect("can be written"))
            .collect()
    }

    fn by_decoding(bytes: &[u8]) -> Option<Posted> {
        let CommentRecord { comment, client_id } = decode(bytes)?;
        (comment.stream_id == stream()).then_some(Posted {
            id: comment.id,
            user_id: comment.user_id,
            client_id,
            standing: Standing::of_badges(comment.badges.iter().map(String::as_str)),
        })
    }

    fn agree(bytes: &[u8]) -> Option<Posted> {
        let posted = posted(bytes, &stream());
        assert_eq!(posted, by_decoding(bytes), "{bytes:02x?}");
        posted
    }

    /// A record of parts written by hand: what none of ours would write.
    fn by_hand(field: &str, value: &serde_json::Value) -> Vec<u8> {
        let mut record = serde_json::json!({
            "comment": {
                "id": 5, "stream_id": "demo", "user_id": "u", "username": "U", "content": "hi", "created_at_ms": 7,
            },
            "client_id": "c",
        });
        match field {
            "client_id" => record[field] = value.clone(),
            field => record["comment"][field] = value.clone(),
        }
        rmp_serde::to_vec_named(&record).expect("can be written")
    }

    #[test]
    fn a_good_record_is_read_and_one_of_another_stream_is_not() {
        for bytes in encoded() {
            let posted = agree(&bytes);
            // Left out fields of a record without names leave what follows in the wrong places: neither reads that.
            assert!(posted.is_some() || decode(&bytes).is_none());
            let other = "other".parse().expect("a stream");
            assert_eq!(super::posted(&bytes, &other), None);
        }
        let named = rmp_serde::to_vec_named(&full()).expect("can be written");
        let posted = agree(&named).expect("is read");
        assert_eq!(posted.id, full().comment.id);
        assert_eq!(posted.user_id, full().comment.user_id);
        assert_eq!(posted.client_id, full().client_id);
        assert_eq!(posted.standing, Standing::Moderator);
    }

    #[test]
    fn badges_tell_whom_limits_hold() {
        assert_eq!(Standing::of_badges([]), Standing::User);
        assert_eq!(Standing::of_badges(["subscriber"]), Standing::User);
        assert_eq!(Standing::of_badges(["broadcaster"]), Standing::Moderator);
        assert_eq!(Standing::of_badges(["x", "moderator"]), Standing::Moderator);
        assert_eq!(Standing::of_badges(["admin"]), Standing::Admin);
    }

    #[test]
    fn whatever_is_cut_off_or_changed_both_read_the_same() {
        for bytes in encoded() {
            for end in 0..bytes.len() {
                agree(&bytes[..end]);
            }
            for place in 0..bytes.len() {
                let mut changed = bytes.clone();
                for value in 0..=u8::MAX {
                    changed[place] = value;
                    agree(&changed);
                }
            }
        }
    }

    #[test]
    fn wrong_types_and_bad_ids_are_refused_and_unknown_fields_are_not() {
        use serde_json::json;
        let long = "x".repeat(200);
        let bad = [
            ("id", json!("5")),
            ("id", json!(-5)),
            ("stream_id", json!("de mo")),
            ("stream_id", json!("")),
            ("stream_id", json!(1)),
            ("user_id", json!("")),
            ("user_id", json!(long)),
            ("user_id", json!("a\nb")),
            ("client_id", json!("")),
            ("client_id", json!(long)),
            ("client_id", json!("a\u{0}b")),
            ("username", json!(1)),
            ("content", json!(null)),
            ("created_at_ms", json!("7")),
            ("parent_id", json!("1")),
            ("mentions", json!([1])),
            ("mentions", json!(null)),
            ("media_ms", json!(-1)),
            ("highlighted", json!(1)),
            ("pinned", json!("true")),
            ("likes", json!(1.5)),
            ("badges", json!("moderator")),
        ];
        for (field, value) in bad {
            assert_eq!(agree(&by_hand(field, &value)), None, "{field}: {value}");
        }
        for (field, value) in [
            ("later", json!({"a": [1, "b"]})),
            ("parent_id", json!(null)),
            ("mentions", json!(["ann"])),
        ] {
            assert!(agree(&by_hand(field, &value)).is_some(), "{field}: {value}");
        }
    }

    #[test]
    fn bytes_are_no_id_but_may_be_a_text() {
        let with = |text: &str| {
            let named = rmp_serde::to_vec_named(&short()).expect("can be written");
            let mut written = vec![0xa0 | text.len() as u8];
            written.extend_from_slice(text.as_bytes());
            let at = named
                .windows(written.len())
                .position(|window| window == written)
                .expect("is there");
            let mut bytes = named[..at].to_vec();
            bytes.extend_from_slice(&[0xc4, text.len() as u8]);
            bytes.extend_from_slice(&named[at + 1..]);
            agree(&bytes)
        };
        assert_eq!(with("demo"), None);
        assert_eq!(with("user 1"), None);
        assert_eq!(with("c-1"), None);
        assert!(with("so true").is_some());
    }
}
