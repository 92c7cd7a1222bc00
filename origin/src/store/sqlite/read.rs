//! Reading: pages of comments, positions, streams.

use std::fmt::Write as _;

use chorus_protocol::event::kind;
use chorus_protocol::stream::StreamInfo;
use chorus_protocol::{CommentId, Event, Offset, Region, StreamId};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use super::{failed, write};
use crate::store::{Author, Count, Page, Positions, Slice, StoreError, StreamPage};

/// How far all logs are in the store.
pub(super) fn positions(connection: &Connection) -> rusqlite::Result<Positions> {
    let mut statement = connection.prepare_cached("SELECT region, epoch, seq FROM positions")?;
    let rows = statement.query_map([], |row| {
        let (epoch, seq) = (number(row, 1)?, number(row, 2)?);
        Ok((row.get(0)?, Offset { epoch, seq }))
    })?;
    rows.collect()
}

pub(super) fn page(
    connection: &mut Connection,
    stream: &StreamId,
    page: Page,
) -> Result<Slice, StoreError> {
    // One transaction: all that the positions say is counted, and nothing else.
    let transaction = connection.transaction().map_err(failed)?;
    let comments = page_of(&transaction, stream, page).map_err(failed)?;
    let count = Count {
        comments: transaction
            .prepare_cached("SELECT comments FROM counts WHERE stream = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([stream.as_str()], |row| row.get(0))
                    .optional()
            })
            .map_err(failed)?
            .unwrap_or(0),
        up_to: positions(&transaction).map_err(failed)?,
    };
    Ok(Slice {
        decisions: decisions(&transaction, comments.iter().map(|(id, _)| id)).map_err(failed)?,
        comments,
        count,
    })
}

fn page_of(
    connection: &Connection,
    stream: &StreamId,
    page: Page,
) -> rusqlite::Result<Vec<(CommentId, Event)>> {
    if page.limit == 0 {
        return Ok(Vec::new());
    }
    let mut sql =
        "SELECT id, region, epoch, seq, event FROM comments WHERE stream = ? AND removed = 0"
            .to_owned();
    let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(stream.as_str().to_owned())];
    let bounds = [
        ("id < ?", page.before),
        ("id > ?", page.after),
        ("parent = ?", page.parent),
    ];
    for (condition, bound) in bounds {
        if let Some(bound) = bound {
            // Ids above 2^63 are none of ours; as bounds they mean "all".
            values.push(Box::new(i64::try_from(bound.0).unwrap_or(i64::MAX)));
            let _ = write!(sql, " AND {condition}");
        }
    }
    let order = match (page.top, page.oldest_first) {
        (true, _) => "likes DESC, id DESC",
        (false, true) => "id",
        (false, false) => "id DESC",
    };
    values.push(Box::new(i64::try_from(page.limit).unwrap_or(i64::MAX)));
    let _ = write!(sql, " ORDER BY {order} LIMIT ?");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
        Ok((CommentId(number(row, 0)?), event(row, 1)?))
    })?;
    rows.collect()
}

/// The decisions that stand about these comments.
pub(super) fn decisions<'a>(
    connection: &Connection,
    comments: impl Iterator<Item = &'a CommentId>,
) -> rusqlite::Result<Vec<Event>> {
    let mut statement = connection
        .prepare_cached("SELECT region, epoch, seq, event FROM decisions WHERE comment = ?1")?;
    let mut found = Vec::new();
    for id in comments {
        let id = i64::try_from(id.0).unwrap_or(i64::MAX);
        for decision in statement.query_map([id], |row| event(row, 0))? {
            found.push(decision?);
        }
    }
    Ok(found)
}

/// An event whose region, epoch, sequence and body begin at a column.
fn event(row: &Row<'_>, at: usize) -> rusqlite::Result<Event> {
    let region: String = row.get(at)?;
    let region = Region::new(&region).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(Event {
        region,
        epoch: number(row, at + 1)?,
        seq: number(row, at + 2)?,
        body: row.get(at + 3)?,
    })
}

pub(super) fn author(
    connection: &Connection,
    stream: &StreamId,
    comment: CommentId,
) -> Result<Option<Author>, StoreError> {
    let id = i64::try_from(comment.0).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "SELECT user, (SELECT id FROM decisions WHERE comment = ?1 AND kind = ?3) FROM comments
             WHERE id = ?1 AND stream = ?2",
        )
        .and_then(|mut statement| {
            statement
                .query_row(params![id, stream.as_str(), kind::REMOVAL], |row| {
                    let removed_by: Option<i64> = row.get(1)?;
                    Ok(Author {
                        user: row.get(0)?,
                        removed_by: removed_by
                            .and_then(|id| u64::try_from(id).ok())
                            .map(CommentId),
                    })
                })
                .optional()
        })
        .map_err(failed)
}

pub(super) fn stream(
    connection: &Connection,
    stream: &StreamId,
) -> Result<Option<StreamInfo>, StoreError> {
    connection
        .prepare_cached("SELECT info FROM streams WHERE stream = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([stream.as_str()], |row| row.get::<_, String>(0))
                .optional()
        })
        .map_err(failed)?
        .map(|info| serde_json::from_str(&info).map_err(failed))
        .transpose()
}

pub(super) fn streams(
    connection: &Connection,
    page: &StreamPage,
) -> Result<Vec<StreamInfo>, StoreError> {
    let (before_ms, before_id) = page
        .before
        .clone()
        .map_or((i64::MAX, String::new()), |(ms, id)| {
            (i64::try_from(ms).unwrap_or(i64::MAX), id)
        });
    let filter = match page.status {
        Some(_) => "status = ?3 AND",
        None => "?3 IS NULL AND",
    };
    let sql = format!(
        "SELECT info FROM streams WHERE {filter} (created_at_ms, stream) < (?1, ?2)
         ORDER BY created_at_ms DESC, stream DESC LIMIT ?4"
    );
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
    let status = page.status.map(write::status);
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let rows = statement
        .query_map(params![before_ms, before_id, status, limit], |row| {
            row.get::<_, String>(0)
        })
        .map_err(failed)?;
    rows.map(|info| serde_json::from_str(&info.map_err(failed)?).map_err(failed))
        .collect()
}

fn number(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index)
        .map(|number| u64::try_from(number).unwrap_or(0))
}
