//! Panics that are contained: each costs what it must (a connection, a shard, a line to the gateway), is logged with
//! its message and place by whoever contains it, and never ends the process.

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
    /// Whether a panic of this thread is contained, so that the hook keeps what it says instead of printing it.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
    /// What the last contained panic of this thread said.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was contained: its message and place, and a backtrace where `RUST_BACKTRACE` asks for one.
#[derive(Debug)]
pub(crate) struct Panic(String);

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes contained panics silent but for what their container logs; others are printed as before. Once per process is
/// enough.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if CONTAINED.get() {
                let said = describe(info);
                // Nothing here may panic: that would end the process.
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

/// Does `work`, or says how it panicked. Whoever calls it throws away, or knows to be whole, what `work` changes.
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

/// [`contained`] for a future, which is dropped when it panics.
pub(crate) async fn contained_future<T>(work: impl Future<Output = T>) -> Result<T, Panic> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| match contained(|| work.as_mut().poll(cx)) {
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Panics in [`WINDOW`] up to which whoever panics begins anew at once.
const RESTARTS_MAX: usize = 5;
/// The time over which panics are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// The first pause beyond that; each further panic doubles it.
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often something panicked lately. It always begins anew; past the bound it pauses before.
#[derive(Debug, Default)]
pub(crate) struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Counts a panic; the pause that is to follow it, zero within the bound.
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
