//! Writing: a batch of comments with its position, and streams.

use chorus_protocol::stream::StreamStatus;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{failed, read};
use crate::store::{Batch, Row, StoreError, StreamRow, Written};

pub(super) fn batch(connection: &mut Connection, batch: &Batch) -> Result<Written, StoreError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    if read::position(&transaction, &batch.region)? != batch.from {
        return Err(StoreError::Fenced);
    }
    let mut written = Written::default();
    for row in &batch.rows {
        if comment(&transaction, row)? {
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
                batch.region.as_str(),
                signed(batch.to.epoch),
                signed(batch.to.seq)
            ])
        })
        .map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(written)
}

/// Writes one comment; false when it (or its key) was there.
fn comment(transaction: &Transaction<'_>, row: &Row) -> Result<bool, StoreError> {
    let values = params![
        signed(row.id.0),
        row.stream.as_str(),
        row.user,
        row.client_id,
        // No id is above 2^63: what an old record names there is nothing, and such parents do not become one.
        row.parent.and_then(|id| i64::try_from(id.0).ok()),
        row.item.region.as_str(),
        signed(row.item.epoch),
        signed(row.item.seq),
        row.item.record,
    ];
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO comments (id, stream, user, client_id, parent, region, epoch, seq, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut statement| statement.execute(values))
        .map_err(failed)?;
    if inserted == 0 {
        // The same key under another id: the lower one stays.
        transaction
            .prepare_cached(
                "UPDATE OR IGNORE comments SET id = ?1, parent = ?5, region = ?6, epoch = ?7, seq = ?8, record = ?9
                 WHERE stream = ?2 AND user = ?3 AND client_id = ?4 AND id > ?1",
            )
            .and_then(|mut statement| statement.execute(values))
            .map_err(failed)?;
        return Ok(false);
    }
    transaction
        .prepare_cached(
            "INSERT INTO counts (stream, comments) VALUES (?1, 1)
             ON CONFLICT (stream) DO UPDATE SET comments = comments + 1",
        )
        .and_then(|mut statement| statement.execute([row.stream.as_str()]))
        .map_err(failed)?;
    Ok(true)
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
    }
}

/// SQLite's integers are signed; ids, sequences and times stay below 2^63.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
