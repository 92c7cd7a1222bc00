//! Lines for a terminal, written by a separate thread, so that a reader that has stopped does not block the program.

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use super::LINES_MAX;

/// How long a flush waits for queued lines.
pub(super) const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The output of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

enum Job {
    Line(Stream, String),
    /// Reports when all lines before it are written.
    Flush(Sender<()>),
}

static JOBS: OnceLock<Option<SyncSender<Job>>> = OnceLock::new();

/// Queues a line; it is dropped when the queue has [`LINES_MAX`] lines. For [`crate::say!`] and [`crate::complain!`].
pub fn line(to: Stream, text: fmt::Arguments<'_>) {
    let jobs = JOBS.get_or_init(|| {
        let (jobs, waiting) = sync_channel(LINES_MAX);
        let thread = std::thread::Builder::new().name("terminal".to_owned());
        let started = thread.spawn(move || {
            for job in waiting {
                match job {
                    Job::Line(to, text) => {
                        // A closed output is no error: its reader has ended.
                        let _ = write(to, &text);
                    }
                    Job::Flush(done) => {
                        let _ = done.send(());
                    }
                }
            }
        });
        started.ok().map(|_| jobs)
    });
    if let Some(jobs) = jobs {
        let _ = jobs.try_send(Job::Line(to, format!("{text}\n")));
    }
}

fn write(to: Stream, text: &str) -> io::Result<()> {
    match to {
        Stream::Output => {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        }
        Stream::Error => io::stderr().lock().write_all(text.as_bytes()),
    }
}

/// Waits until the queued lines are written, for one second at most. Call it before the program ends.
pub fn flush_terminal() {
    flush(FLUSH_MAX);
}

pub(super) fn flush(within: Duration) {
    let Some(Some(jobs)) = JOBS.get() else {
        return;
    };
    let (done, written) = channel();
    if jobs.try_send(Job::Flush(done)).is_ok() {
        let _ = written.recv_timeout(within);
    }
}
