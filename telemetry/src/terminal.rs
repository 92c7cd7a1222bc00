//! Lines for a terminal: written by a thread of their own, so that a pipe whose reader has stopped stops nobody else.

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use super::LINES_MAX;

/// How long what still waits is waited for.
pub(super) const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

enum Job {
    Line(Stream, String),
    /// Everything before it is written.
    Flush(Sender<()>),
}

static JOBS: OnceLock<Option<SyncSender<Job>>> = OnceLock::new();

/// Hands a line to be written; dropped when [`LINES_MAX`] others wait. For [`crate::say!`] and [`crate::complain!`].
pub fn line(to: Stream, text: fmt::Arguments<'_>) {
    let jobs = JOBS.get_or_init(|| {
        let (jobs, waiting) = sync_channel(LINES_MAX);
        let thread = std::thread::Builder::new().name("terminal".to_owned());
        let started = thread.spawn(move || {
            for job in waiting {
                match job {
                    Job::Line(to, text) => {
                        // Whoever closed it does not want to hear it.
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

/// Waits until the lines so far are written, for a second at the most: before a program ends.
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
