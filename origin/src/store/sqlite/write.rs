//! Writing: a batch of events with its position, and streams.

use chorus_protocol::event::kind;
use chorus_protocol::stream::StreamStatus;
use chorus_protocol::{CommentId, StreamId};
use rusqlite::{Connection, ToSql, Transaction, TransactionBehavior, params};

use super::{failed, read};
use crate::store::{Batch, Row, StoreError, StreamRow, Written};

pub(super) fn batch(connection: &mut Connection, batch: &Batch) -> Result<Written, StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let positions = read::positions(&transaction).map_err(failed)?;
    if positions.get(&batch.log).copied() != batch.from {
        return Err(StoreError::Fenced);
    }
    let mut written = Written::default();
    for each in &batch.rows {
        if row(&transaction, each).map_err(failed)? {
            written.new += 1;
        } else {
            written.repeats += 1;
        }
    }
    transaction
        .prepare_cached(
            "INSERT INTO positions (region, epoch, seq) VALUES (?1, ?2, ?3)
             ON CONFLICT (region) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                batch.log,
                signed(batch.to.epoch),
                signed(batch.to.seq)
            ])
        })
        .map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(written)
}

/// Writes one event; false when it (or its key) was there.
fn row(transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<bool> {
    match row {
        Row::Comment {
            id,
            stream,
            user,
            key,
            parent,
            event,
        } => {
            let values = params![
                signed(id.0),
                stream.as_str(),
                user,
                key.to_be_bytes(),
                // No id is above 2^63: what an old event names there is nothing, and such parents do not become one.
                parent.and_then(|id| i64::try_from(id.0).ok()),
                event.region.as_str(),
                signed(event.epoch),
                signed(event.seq),
                event.body,
                kind::REMOVAL,
            ];
            comment(transaction, stream, values)
        }
        Row::Decision {
            id,
            kind,
            stream,
            target,
            event,
        } => {
            let values = params![
                signed(target.0),
                kind,
                signed(id.0),
                stream.as_str(),
                event.region.as_str(),
                signed(event.epoch),
                signed(event.seq),
                event.body,
            ];
            let new = decision(transaction, values)?;
            if kind == kind::REMOVAL {
                remove(transaction, *target)?;
                if new {
                    count(transaction, stream, -1)?;
                }
            }
            Ok(new)
        }
    }
}

fn comment(
    transaction: &Transaction<'_>,
    stream: &StreamId,
    values: &[&dyn ToSql],
) -> rusqlite::Result<bool> {
    // The removal of a comment may have come first, from another region's log.
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO comments (id, stream, user, key, parent, region, epoch, seq, removed, event)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, gone, CASE gone WHEN 0 THEN ?9 ELSE x'' END
             FROM (SELECT EXISTS (SELECT 1 FROM decisions WHERE comment = ?1 AND kind = ?10) AS gone) WHERE true
             ON CONFLICT DO NOTHING",
        )?
        .execute(values)?;
    if inserted == 0 {
        // The same key under another id: the lower one stays.
        transaction
            .prepare_cached(
                "UPDATE OR IGNORE comments SET id = ?1, stream = ?2, user = ?3, parent = ?5, region = ?6, epoch = ?7,
                     seq = ?8, event = ?9
                 WHERE key = ?4 AND id > ?1 AND removed = 0 AND ?10 IS NOT NULL",
            )?
            .execute(values)?;
        return Ok(false);
    }
    count(transaction, stream, 1)?;
    Ok(true)
}

/// Writes a decision unless a later one of its kind stands; true when it is the first.
fn decision(transaction: &Transaction<'_>, values: &[&dyn ToSql]) -> rusqlite::Result<bool> {
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO decisions (comment, kind, id, stream, region, epoch, seq, event)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
        .execute(values)?;
    if inserted == 0 {
        transaction
            .prepare_cached(
                "UPDATE decisions SET id = ?3, region = ?5, epoch = ?6, seq = ?7, event = ?8
                 WHERE comment = ?1 AND kind = ?2 AND id < ?3 AND stream = ?4",
            )?
            .execute(values)?;
    }
    Ok(inserted > 0)
}

/// Takes a comment's text away. Its id, author and key stay, so that it cannot be written again.
fn remove(transaction: &Transaction<'_>, comment: CommentId) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE comments SET removed = 1, event = x'' WHERE id = ?1")?
        .execute([signed(comment.0)])
        .map(|_| ())
}

/// Changes the number of a stream's comments.
fn count(transaction: &Transaction<'_>, stream: &StreamId, by: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO counts (stream, comments) VALUES (?1, ?2)
             ON CONFLICT (stream) DO UPDATE SET comments = comments + ?2",
        )?
        .execute(params![stream.as_str(), by])
        .map(|_| ())
}

pub(super) fn stream(connection: &mut Connection, row: &StreamRow) -> Result<(), StoreError> {
    let info = serde_json::to_string(&row.info).map_err(failed)?;
    // A log that was wiped counts from the start again: then a stream created later wins.
    connection
        .prepare_cached(
            "INSERT INTO streams (stream, created_at_ms, status, info, seq) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (stream) DO UPDATE SET created_at_ms = excluded.created_at_ms,
                 status = excluded.status, info = excluded.info, seq = excluded.seq
             WHERE excluded.seq > streams.seq OR excluded.created_at_ms > streams.created_at_ms",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                row.info.stream_id.as_str(),
                signed(row.info.created_at_ms.0),
                status(row.info.status),
                info,
                signed(row.seq),
            ])
        })
        .map(|_| ())
        .map_err(failed)
}

pub(super) fn status(status: StreamStatus) -> &'static str {
    match status {
        StreamStatus::Live => "live",
        StreamStatus::Ended => "ended",
        StreamStatus::Unknown => "unknown",
    }
}

/// SQLite's integers are signed; ids, sequences and times stay below 2^63.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
