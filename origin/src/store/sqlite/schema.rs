//! The schema and its migrations, by `user_version`.

use rusqlite::{Connection, TransactionBehavior};

use super::failed;
use crate::store::StoreError;

/// Each brings the schema from its index to the next version.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE comments (
        id        INTEGER PRIMARY KEY,
        stream    TEXT NOT NULL,
        user      TEXT NOT NULL,
        client_id TEXT NOT NULL,
        parent    INTEGER,
        likes     INTEGER NOT NULL DEFAULT 0,
        region    TEXT NOT NULL,
        epoch     INTEGER NOT NULL,
        seq       INTEGER NOT NULL,
        record    BLOB NOT NULL
    ) STRICT;
    CREATE INDEX comments_newest ON comments (stream, id);
    CREATE UNIQUE INDEX comments_key ON comments (stream, user, client_id);
    CREATE INDEX comments_replies ON comments (parent, id) WHERE parent IS NOT NULL;
    CREATE INDEX comments_top ON comments (stream, likes, id);

    CREATE TABLE counts (
        stream   TEXT PRIMARY KEY,
        comments INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE positions (
        region TEXT PRIMARY KEY,
        epoch  INTEGER NOT NULL,
        seq    INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE streams (
        stream        TEXT PRIMARY KEY,
        created_at_ms INTEGER NOT NULL,
        status        TEXT NOT NULL,
        info          TEXT NOT NULL,
        seq           INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX streams_newest ON streams (created_at_ms, stream);
    CREATE INDEX streams_by_status ON streams (status, created_at_ms, stream);
"];

/// Brings a store to the newest schema; several processes may try at once.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = MIGRATIONS.len() as i64;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    let found: i64 = transaction
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(failed)?;
    if found > known || found < 0 {
        return Err(StoreError::Schema { found, known });
    }
    let missing = usize::try_from(found).unwrap_or(MIGRATIONS.len());
    for migration in &MIGRATIONS[missing..] {
        transaction.execute_batch(migration).map_err(failed)?;
    }
    transaction
        .execute_batch(&format!("PRAGMA user_version = {known}"))
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}
