//! One read at a time, and when it is tried again.

use chorus_protocol::timing::Backoff;

/// From one try to the next when the log or the store is away.
const RETRY: Backoff = Backoff::new(100, 1_000);

#[derive(Clone, Debug, Default)]
pub(super) struct Attempt {
    under_way: bool,
    tries: u32,
    not_before_ms: u64,
}

impl Attempt {
    /// Whether to read now; the answer is [`Attempt::succeeded`] or [`Attempt::failed`].
    pub(super) fn start(&mut self, now_ms: u64) -> bool {
        let starts = !self.under_way && self.not_before_ms <= now_ms;
        self.under_way |= starts;
        starts
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub(super) fn failed(&mut self, now_ms: u64, jitter: u64) {
        self.under_way = false;
        self.not_before_ms = now_ms + RETRY.ms(self.tries, jitter);
        self.tries = self.tries.saturating_add(1);
    }

    /// What failed may work now.
    pub(super) fn retry_now(&mut self) {
        self.tries = 0;
        self.not_before_ms = 0;
    }

    /// No try was answered yet.
    pub(super) fn is_first(&self) -> bool {
        self.tries == 0
    }

    /// When to read, if there is something to be read.
    pub(super) fn due_ms(&self) -> Option<u64> {
        (!self.under_way).then_some(self.not_before_ms)
    }
}
