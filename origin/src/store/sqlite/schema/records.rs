//! The records of schema 1 as events.

use chorus_protocol::comment::post_key;
use chorus_protocol::event::{AuthorRole, kind};
use chorus_protocol::{ClientId, Comment, CommentRecord, Envelope};
use rusqlite::{Transaction, params};
use serde::Deserialize;

/// What the log held of a comment then.
#[derive(Deserialize)]
struct Record {
    comment: Comment,
    client_id: ClientId,
}

/// Copies all comments. One whose record cannot be read could not be shown before either: it is left out.
pub(super) fn to_events(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut rows = transaction
        .prepare("SELECT id, parent, likes, region, epoch, seq, record FROM comments_of_1")?;
    let mut insert = transaction.prepare(
        "INSERT OR IGNORE INTO comments (id, stream, user, key, parent, likes, region, epoch, seq, event)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let record: Vec<u8> = row.get(6)?;
        let Ok(Record { comment, client_id }) = rmp_serde::from_slice(&record) else {
            continue;
        };
        let key = post_key(&comment.stream_id, &comment.user_id, &client_id);
        insert.execute(params![
            row.get::<_, i64>(0)?,
            comment.stream_id.as_str(),
            comment.user_id.as_str(),
            key.to_be_bytes(),
            row.get::<_, Option<i64>>(1)?,
            row.get::<_, i64>(2)?,
            row.get::<_, String>(3)?,
            row.get::<_, i64>(4)?,
            row.get::<_, i64>(5)?,
            body(&comment, key),
        ])?;
    }
    Ok(())
}

fn body(comment: &Comment, key: u128) -> Vec<u8> {
    let roles = comment.badges.iter().map(|badge| AuthorRole::parse(badge));
    let envelope = Envelope {
        id: comment.id,
        kind: kind::COMMENT,
        stream: comment.stream_id.as_str(),
        author: comment.user_id.as_str(),
        role: roles.max().unwrap_or_default(),
        key,
        target: None,
        record: &[],
    };
    envelope.write_record(&CommentRecord {
        username: comment.username.clone(),
        content: comment.content.clone(),
        created_at_ms: comment.created_at_ms,
        parent_id: comment.parent_id,
        mentions: comment.mentions.clone(),
        media_ms: comment.media_ms,
        badges: comment.badges.clone(),
    })
}

#[cfg(test)]
mod tests {
    use chorus_protocol::CommentView;
    use rusqlite::Connection;

    use super::super::{COMMENTS, migrate};
    use super::*;

    #[test]
    fn a_store_of_schema_1_keeps_its_comments() {
        let mut connection = Connection::open_in_memory().expect("opens");
        connection.execute_batch(COMMENTS).expect("schema 1");
        connection
            .execute_batch("PRAGMA user_version = 1")
            .expect("is 1");
        let record = serde_json::json!({
            "comment": {
                "id": 7, "stream_id": "demo", "user_id": "ann", "username": "Ann", "content": "so true",
                "created_at_ms": 5, "badges": ["moderator"],
            },
            "client_id": "c-1",
        });
        let record = rmp_serde::to_vec_named(&record).expect("writes");
        connection
            .execute(
                "INSERT INTO comments (id, stream, user, client_id, region, epoch, seq, record)
                 VALUES (7, 'demo', 'ann', 'c-1', 'dev', 1, 2, ?1), (8, 'demo', 'ann', 'c-2', 'dev', 1, 3, x'c1')",
                [record],
            )
            .expect("is written");
        migrate(&mut connection).expect("migrates");
        let events: Vec<Vec<u8>> = connection
            .prepare("SELECT event FROM comments ORDER BY id")
            .expect("prepares")
            .query_map([], |row| row.get(0))
            .expect("reads")
            .collect::<Result<_, _>>()
            .expect("reads all");
        assert_eq!(events.len(), 1, "what could not be read is left out");
        let envelope = Envelope::read(&events[0]).expect("is an event");
        let comment = CommentView::read(&envelope).expect("is a comment");
        assert_eq!((comment.content, comment.user_id), ("so true", "ann"));
        assert_eq!(envelope.role, AuthorRole::Moderator);
        migrate(&mut connection).expect("once more changes nothing");
    }
}
