//! SQLite in WAL mode: one writing thread, a few reading threads, any number of processes on one machine.
//!
//! `synchronous=NORMAL`: a commit survives the kill of a process without an fsync of its own; with the machine's power the
//! last commits may go, rows and position together. `persist` then reads them again from the log, which keeps seven days.

mod read;
mod schema;
mod write;

use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chorus_protocol::stream::StreamInfo;
use chorus_protocol::{CommentId, Event, StreamId};
use rusqlite::{Connection, ErrorCode};

use super::{
    Answer, Author, Batch, Comments, Page, Positions, Slice, StoreError, StreamPage, StreamRow,
    Streams, Written, failed,
};
use crate::lock::lock;

/// Threads that read.
const READERS: usize = 2;
/// Jobs waiting for the threads; one more is refused as failed.
const JOBS_MAX: usize = 1_024;
/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);
/// From one try to open to the next, while it is locked.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

const PRAGMAS: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;
    PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY;";

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

pub(super) struct Sqlite {
    writer: mpsc::SyncSender<Job>,
    readers: mpsc::SyncSender<Job>,
}

impl Sqlite {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        let mut first = connect(path)?;
        schema::migrate(&mut first)?;
        let (writer, jobs) = mpsc::sync_channel(JOBS_MAX);
        work("store-writer", first, Arc::new(Mutex::new(jobs)))?;
        let (readers, jobs) = mpsc::sync_channel(JOBS_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..READERS {
            work("store-reader", connect(path)?, Arc::clone(&jobs))?;
        }
        Ok(Self { writer, readers })
    }

    fn ask<T, F>(queue: &mpsc::SyncSender<Job>, work: F) -> Answer<'_, T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let queued = queue.try_send(Box::new(move |connection| {
            let _ = answer.send(work(connection));
        }));
        Box::pin(async move {
            queued.map_err(|_| StoreError::Failed("too many calls under way".to_owned()))?;
            answered
                .await
                .map_err(|_| StoreError::Failed("the store's thread is gone".to_owned()))?
        })
    }
}

impl Comments for Sqlite {
    fn write(&self, batch: Batch) -> Answer<'_, Written> {
        Self::ask(&self.writer, move |c| write::batch(c, &batch))
    }

    fn positions(&self) -> Answer<'_, Positions> {
        Self::ask(&self.readers, |c| read::positions(c).map_err(failed))
    }

    fn page(&self, stream: StreamId, page: Page) -> Answer<'_, Slice> {
        Self::ask(&self.readers, move |c| read::page(c, &stream, page))
    }

    fn decisions(&self, comments: Vec<CommentId>) -> Answer<'_, Vec<Event>> {
        Self::ask(&self.readers, move |c| {
            read::decisions(c, comments.iter()).map_err(failed)
        })
    }

    fn author(&self, stream: StreamId, comment: CommentId) -> Answer<'_, Option<Author>> {
        Self::ask(&self.readers, move |c| read::author(c, &stream, comment))
    }
}

impl Streams for Sqlite {
    fn write(&self, row: StreamRow) -> Answer<'_, ()> {
        Self::ask(&self.writer, move |c| write::stream(c, &row))
    }

    fn read(&self, stream: StreamId) -> Answer<'_, Option<StreamInfo>> {
        Self::ask(&self.readers, move |c| read::stream(c, &stream))
    }

    fn list(&self, page: StreamPage) -> Answer<'_, Vec<StreamInfo>> {
        Self::ask(&self.readers, move |c| read::streams(c, &page))
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    let deadline = Instant::now() + BUSY;
    loop {
        match connection.execute_batch(PRAGMAS) {
            Ok(()) => break,
            // Changing the journal's mode does not wait for others that open the file at the same time.
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(BUSY_PAUSE);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn work(
    name: &str,
    mut connection: Connection,
    jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
) -> Result<(), StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            loop {
                let job = lock(&jobs).recv();
                match job {
                    Ok(job) => job(&mut connection),
                    Err(mpsc::RecvError) => return,
                }
            }
        })
        .map(|_| ())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the processes of a region's roles do.
    #[test]
    fn all_that_open_a_new_file_at_once_get_it() {
        for _ in 0..30 {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("new/chorus.db");
            let start = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        Sqlite::open(&path).map(drop).expect("opens");
                    });
                }
            });
        }
    }
}
