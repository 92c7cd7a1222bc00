//! Contained panics. A panic ends the smallest part that it may have left inconsistent (a connection, a shard's engine,
//! the backhaul), is logged there with its message and place, and never ends the process.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::pin::pin;
use std::sync::Once;
use std::task::Poll;
use std::time::{Duration, Instant};

thread_local! {
    /// Whether a panic of this thread is contained now, so that the hook stores its message instead of printing it.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
    /// The message of this thread's last contained panic.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A contained panic: its message and place, with a backtrace if `RUST_BACKTRACE` asks for one.
#[derive(Debug)]
pub(crate) struct Panic(String);

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Installs a panic hook that prints no contained panics; their container logs them. Other panics go to the hook before.
/// Later calls do nothing.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if CONTAINED.get() {
                let said = describe(info);
                // Nothing here may panic, because a panic in the hook ends the process.
                let _ = SAID.try_with(|last| last.try_borrow_mut().map(|mut it| *it = Some(said)));
            } else {
                before(info);
            }
        }));
    });
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("a panic without a message");
    let place = info
        .location()
        .map_or_else(String::new, |place| format!(", at {place}"));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        format!("{message}{place}\n{backtrace}")
    } else {
        format!("{message}{place}")
    }
}

/// Runs `work`; `Err` when it panicked. The caller must drop the state that `work` may have left inconsistent.
pub(crate) fn contained<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    let outer = CONTAINED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    done.map_err(|payload| {
        let said = SAID.take();
        Panic(said.unwrap_or_else(|| {
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            text.unwrap_or("a panic without a message").to_owned()
        }))
    })
}

/// As [`contained`], for a future. A future that panicked is dropped.
pub(crate) async fn contained_future<T>(work: impl Future<Output = T>) -> Result<T, Panic> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| match contained(|| work.as_mut().poll(cx)) {
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Panics within [`WINDOW`] up to which a restart needs no pause.
const RESTARTS_MAX: usize = 5;
/// The time over which panics are counted for [`RESTARTS_MAX`].
const WINDOW: Duration = Duration::from_secs(60);
/// The pause after the first panic beyond [`RESTARTS_MAX`]; each further one doubles it, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// The longest pause before a restart.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The recent panics of one part of the process. It is always restarted; past the bound, after a pause.
#[derive(Debug, Default)]
pub(crate) struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Counts a panic; returns the pause before the restart, zero within the bound.
    pub(crate) fn count(&mut self, now: Instant) -> Duration {
        while self
            .0
            .pop_front_if(|at| now.duration_since(*at) >= WINDOW)
            .is_some()
        {}
        self.0.push_back(now);
        let beyond = self.0.len().saturating_sub(RESTARTS_MAX);
        match u32::try_from(beyond) {
            Ok(0) => Duration::ZERO,
            Ok(beyond) => PAUSE_MIN
                .saturating_mul(1 << (beyond - 1).min(16))
                .min(PAUSE_MAX),
            Err(_) => PAUSE_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contained_panic_says_what_and_where() {
        install();
        let panic = contained(|| panic!("the number was {}", 7)).expect_err("it panics");
        let said = panic.to_string();
        assert!(said.starts_with("the number was 7, at "), "{said}");
        assert!(said.contains("panics.rs"), "{said}");
        assert_eq!(contained(|| 1).ok(), Some(1), "and then all is as before");
    }

    #[tokio::test]
    async fn a_future_that_panics_is_an_error() {
        let later = contained_future(async {
            tokio::task::yield_now().await;
            panic!("late");
        });
        let ended: Result<(), Panic> = later.await;
        let panic = ended.expect_err("it panics");
        assert!(panic.to_string().starts_with("late"));
    }

    #[test]
    fn five_panics_a_minute_cost_no_pause_and_more_cost_longer_ones() {
        let mut restarts = Restarts::default();
        let now = Instant::now();
        for _ in 0..RESTARTS_MAX {
            assert_eq!(restarts.count(now), Duration::ZERO);
        }
        assert_eq!(restarts.count(now), PAUSE_MIN);
        assert_eq!(restarts.count(now), PAUSE_MIN * 2);
        for _ in 0..100 {
            assert!(restarts.count(now) <= PAUSE_MAX);
        }
        assert_eq!(restarts.count(now + WINDOW), Duration::ZERO);
    }
}
