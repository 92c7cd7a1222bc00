//! The counters of a load, shared by all tasks.

use std::io;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::histogram::Histogram;
use chorus_telemetry::{complain, print};

/// The counters of a load.
pub(crate) struct Tally {
    begun: Instant,
    /// A part of the content and the keys of this run's comments, which distinguishes them from those of other runs.
    run: String,
    /// When each comment was posted, in microseconds since `begun`; 0: not posted yet.
    posted_us: Vec<AtomicU64>,
    /// Time from the post to its delivery to a viewer.
    pub(crate) to_viewer: Histogram,
    /// Time from the post to its receipt `durable`.
    pub(crate) to_durable: Histogram,
    pub(crate) watching: AtomicU64,
    pub(crate) broken: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) posted: AtomicU64,
    pub(crate) durable: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) unconfirmed: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) seen: AtomicU64,
    pub(crate) repeats: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Tally {
    /// Counters for a run of at most `posts_max` comments.
    pub(crate) fn new(posts_max: usize) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            begun: Instant::now(),
            run: run_name(),
            posted_us: (0..posts_max).map(|_| zero()).collect(),
            to_viewer: Histogram::default(),
            to_durable: Histogram::default(),
            watching: zero(),
            broken: zero(),
            lost: zero(),
            posted: zero(),
            durable: zero(),
            rejected: zero(),
            unconfirmed: zero(),
            errors: zero(),
            seen: zero(),
            repeats: zero(),
            failure: Mutex::new(None),
        }
    }

    /// The content of the comment with this number.
    pub(crate) fn content(&self, number: u64) -> String {
        format!("load {} #{number}", self.run)
    }

    /// The idempotency key of the comment with this number.
    pub(crate) fn key(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// The number of a comment, by its content; `None` for a comment of another run.
    pub(crate) fn number(&self, content: &str) -> Option<u64> {
        content
            .strip_prefix("load ")?
            .strip_prefix(self.run.as_str())?
            .strip_prefix(" #")?
            .parse()
            .ok()
    }

    /// Counts a comment as posted now.
    pub(crate) fn post(&self, number: u64) {
        self.posted.fetch_add(1, Ordering::Relaxed);
        if let Some(at) = self.posted_us.get(number as usize) {
            let us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            at.store(us.max(1), Ordering::Relaxed);
        }
    }

    /// The time since a comment was posted.
    pub(crate) fn since_post(&self, number: u64) -> Option<Duration> {
        let at = self.posted_us.get(number as usize)?.load(Ordering::Relaxed);
        (at != 0).then(|| {
            self.begun
                .elapsed()
                .saturating_sub(Duration::from_micros(at))
        })
    }

    /// Stores the first failure for the report.
    pub(crate) fn failed(&self, why: String) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(why);
        }
    }

    pub(crate) fn first_failure(&self) -> String {
        let failure = self.failure.lock().ok().and_then(|failure| failure.clone());
        failure.unwrap_or_else(|| "no reason was told".to_owned())
    }

    /// How many viewers have joined, and how many failed to.
    pub(crate) fn opened(&self) -> (u64, u64) {
        (
            self.watching.load(Ordering::Relaxed),
            self.broken.load(Ordering::Relaxed),
        )
    }

    /// Whether every post has an outcome and every viewer has seen every durable comment.
    pub(crate) fn complete(&self, viewers: u32) -> bool {
        let posted = self.posted.load(Ordering::Relaxed);
        let settled = self.durable.load(Ordering::Relaxed)
            + self.rejected.load(Ordering::Relaxed)
            + self.unconfirmed.load(Ordering::Relaxed);
        settled >= posted && self.missing(viewers) == 0
    }

    fn missing(&self, viewers: u32) -> u64 {
        let watching = u64::from(viewers).min(self.watching.load(Ordering::Relaxed));
        let due = self.durable.load(Ordering::Relaxed) * watching;
        due.saturating_sub(self.seen.load(Ordering::Relaxed))
    }

    pub(crate) fn progress(&self) -> String {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "posted {}  durable {}  refused {}  seen {}  lost connections {}  to viewers: {}",
            get(&self.posted),
            get(&self.durable),
            get(&self.rejected),
            get(&self.seen),
            get(&self.lost),
            self.to_viewer.line()
        )
    }

    /// Prints the report.
    pub(crate) fn report(&self, viewers: u32, took: Duration) -> io::Result<()> {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        print(format_args!(
            "
post → other viewer   {}
post → durable        {}
posts                 {} in {:.1} s: {} durable, {} refused, {} unconfirmed, {} errors
viewers               {} of {viewers} watched, {} lost their connection
deliveries            {} seen, {} missing, {} repeated",
            self.to_viewer.line(),
            self.to_durable.line(),
            get(&self.posted),
            took.as_secs_f64(),
            get(&self.durable),
            get(&self.rejected),
            get(&self.unconfirmed),
            get(&self.errors),
            get(&self.watching),
            get(&self.lost),
            get(&self.seen),
            self.missing(viewers),
            get(&self.repeats)
        ))
    }

    /// The exit code: failure when a comment was lost or repeated, a connection failed, or no comment was durable.
    pub(crate) fn verdict(&self, viewers: u32) -> ExitCode {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let faults = self.missing(viewers)
            + get(&self.repeats)
            + get(&self.unconfirmed)
            + get(&self.errors)
            + get(&self.broken)
            + get(&self.lost);
        if faults == 0 && get(&self.durable) > 0 {
            return ExitCode::SUCCESS;
        }
        complain!(
            "chorus: not all went well; the first failure: {}",
            self.first_failure()
        );
        ExitCode::FAILURE
    }
}

/// A unique name for a run. It has the time too, because process ids repeat and keys are remembered with the history.
fn run_name() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}-{:x}", now.as_millis(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_known_by_its_content() {
        let tally = Tally::new(10);
        assert_eq!(tally.number(&tally.content(7)), Some(7));
        assert_eq!(tally.number("hello #7"), None);
        assert_eq!(tally.since_post(7), None);
        tally.post(7);
        assert!(tally.since_post(7).is_some());
        assert_eq!(tally.since_post(99), None);
    }
}
