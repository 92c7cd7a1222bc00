//! The schema and its migrations, by `user_version`.

mod records;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::failed;
use crate::store::StoreError;

/// Each brings the schema from its index to the next version.
const MIGRATIONS: [Migration; 2] = [
    |transaction| transaction.execute_batch(COMMENTS),
    |transaction| {
        transaction.execute_batch(EVENTS)?;
        records::to_events(transaction)?;
        transaction.execute_batch(EVENTS_INDEXES)
    },
];

type Migration = fn(&Transaction<'_>) -> rusqlite::Result<()>;

const COMMENTS: &str = "
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
";

/// Events instead of records; what is decided about comments.
const EVENTS: &str = "
    ALTER TABLE comments RENAME TO comments_of_1;
    CREATE TABLE comments (
        id      INTEGER PRIMARY KEY,
        stream  TEXT NOT NULL,
        user    TEXT NOT NULL,
        key     BLOB NOT NULL,
        parent  INTEGER,
        likes   INTEGER NOT NULL DEFAULT 0,
        removed INTEGER NOT NULL DEFAULT 0,
        region  TEXT NOT NULL,
        epoch   INTEGER NOT NULL,
        seq     INTEGER NOT NULL,
        event   BLOB NOT NULL
    ) STRICT;
    CREATE TABLE decisions (
        comment INTEGER NOT NULL,
        kind    TEXT NOT NULL,
        id      INTEGER NOT NULL,
        stream  TEXT NOT NULL,
        region  TEXT NOT NULL,
        epoch   INTEGER NOT NULL,
        seq     INTEGER NOT NULL,
        event   BLOB NOT NULL,
        PRIMARY KEY (comment, kind)
    ) STRICT, WITHOUT ROWID;
";

const EVENTS_INDEXES: &str = "
    DROP TABLE comments_of_1;
    CREATE INDEX comments_newest ON comments (stream, id) WHERE removed = 0;
    CREATE UNIQUE INDEX comments_key ON comments (key);
    CREATE INDEX comments_replies ON comments (parent, id) WHERE parent IS NOT NULL;
    CREATE INDEX comments_top ON comments (stream, likes, id) WHERE removed = 0;
";

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
        migration(&transaction).map_err(failed)?;
    }
    transaction
        .execute_batch(&format!("PRAGMA user_version = {known}"))
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}
