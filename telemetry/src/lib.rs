//! Output of a program: log lines to standard error, messages to a terminal.
//!
//! Standard error may be a file on a full disk, or a pipe whose reader has ended or does not read. None of these may end or
//! block a program, so a separate thread writes the lines from a bounded queue; lines that cannot be written are dropped and
//! counted ([`lines_lost`]).

// Both macros panic when standard output or error cannot be written.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod terminal;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines in the queue; a further one is dropped and counted.
pub const LINES_MAX: usize = 16_384;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// When dropped, writes the queued lines, for one second at most.
#[derive(Debug)]
#[must_use = "queued lines are lost without it"]
pub struct Guard {
    _worker: WorkerGuard,
}

static NOT_WRITTEN: AtomicU64 = AtomicU64::new(0);
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Log lines of this process that could not be written or were dropped because the queue was full.
#[must_use]
pub fn lines_lost() -> u64 {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    NOT_WRITTEN.load(Ordering::Relaxed) + dropped as u64
}

/// Starts writing this process's log lines to standard error. `RUST_LOG` filters them; `default` does without it or when it
/// is invalid. Only a terminal gets colours. Panics are logged with their place.
pub fn start(format: Format, default: &str) -> Guard {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let (writer, worker) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_MAX)
        .lossy(true)
        .thread_name("log-lines")
        .finish(Tolerant(io::stderr()));
    let _ = DROPPED.set(writer.error_counter());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(coloured(&io::stderr()))
        .log_internal_errors(false)
        .with_writer(writer);
    match format {
        Format::Text => lines.init(),
        Format::Json => lines.json().init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            place = panic.location().map(tracing::field::display),
            "panic: {}",
            panic.payload_as_str().unwrap_or("no message")
        );
    }));
    Guard { _worker: worker }
}

/// Whether to write colours: to a terminal, unless `NO_COLOR` is set.
fn coloured(to: &impl IsTerminal) -> bool {
    to.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A writer that counts failed writes and returns no errors.
struct Tolerant<W>(W);

impl<W: Write> Write for Tolerant<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each call has one complete line.
        if self.0.write_all(bytes).is_err() {
            NOT_WRITTEN.fetch_add(1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // A failed write is counted already.
        let _ = self.0.flush();
        Ok(())
    }
}

/// Writes a line to standard output after all queued lines, and waits until it is written.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(text: fmt::Arguments<'_>) -> io::Result<()> {
    terminal::flush(terminal::FLUSH_MAX);
    let mut out = io::stdout().lock();
    out.write_fmt(text)?;
    out.write_all(b"\n")?;
    out.flush()
}

pub use terminal::{Stream, flush_terminal, line};

/// As `println!`, but never panics and never waits for a slow reader: the line is queued.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        $crate::line($crate::Stream::Output, ::std::format_args!($($text)*))
    };
}

/// As `eprintln!`, but never panics and never waits for a slow reader: the line is queued.
#[macro_export]
macro_rules! complain {
    ($($text:tt)*) => {
        $crate::line($crate::Stream::Error, ::std::format_args!($($text)*))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_nothing_else() {
        let before = lines_lost();
        let mut writer = Tolerant(Full);
        assert_eq!(writer.write(b"a line\n").expect("goes on"), 7);
        writer.flush().expect("goes on");
        assert_eq!(lines_lost(), before + 1);
    }
}
