//! Exact rate limits: at most `count` uses in any window of a given length. The time is a parameter.
//!
//! A PoP's session and the gateway use the same types, so that both count a use in the same way.

mod user;

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::user::{Charged, CommentRefusal, UserLimits, UserUses};

/// Times stored for one window, at most. A limit with a count up to this is exact to the millisecond. For a larger count
/// uses are grouped by parts of a 128th of the window and count from the end of their part, so the limit may refuse for that
/// much longer but never lets more in.
pub const TIMES_MAX: u64 = 128;
/// The wait reported for a use that is never possible: one year, in milliseconds.
pub const NEVER_MS: u64 = 31_536_000_000;

/// At most `count` uses in any window of `window_ms` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    count: u64,
    window_ms: u64,
}

/// The recent uses of a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Time in milliseconds and number of uses, oldest first.
    uses: VecDeque<(u64, u64)>,
    /// The sum over `uses`.
    used: u64,
}

impl Limit {
    /// A limit of `count` uses per window; with 0 every use is refused.
    #[must_use]
    pub fn new(count: u32, window_ms: u64) -> Self {
        Self {
            count: count.into(),
            window_ms,
        }
    }

    /// Checks whether `n` more uses are possible now.
    ///
    /// # Errors
    /// The milliseconds until they are, if there are no other uses meanwhile.
    pub fn check(self, window: &Window, now_ms: u64, n: u64) -> Result<(), u64> {
        if n > self.count {
            return Err(NEVER_MS);
        }
        let mut left = window.used;
        for &(at, used) in &window.uses {
            let until = at.saturating_add(self.window_ms);
            // Uses that left the window do not count; of the others the oldest leaves it first.
            if until > now_ms {
                if left + n <= self.count {
                    return Ok(());
                }
                if left + n - used.min(left) <= self.count {
                    return Err(until - now_ms);
                }
            }
            left -= used.min(left);
        }
        Ok(())
    }

    /// How many uses are possible now.
    #[must_use]
    pub fn room(self, window: &Window, now_ms: u64) -> u64 {
        let over = window
            .uses
            .iter()
            .take_while(|(at, _)| self.over(*at, now_ms));
        let over: u64 = over.map(|(_, used)| used).sum();
        self.count.saturating_sub(window.used - over)
    }

    /// Counts `n` uses; returns the time under which they are counted, for [`Limit::give_back`].
    pub fn charge(self, window: &mut Window, now_ms: u64, n: u64) -> u64 {
        while let Some(&(at, used)) = window.uses.front()
            && self.over(at, now_ms)
        {
            window.uses.pop_front();
            window.used -= used;
        }
        let part = match self.count {
            ..=TIMES_MAX => 1,
            _ => self.window_ms.div_ceil(TIMES_MAX).max(1),
        };
        let mut at = now_ms.div_ceil(part).saturating_mul(part);
        window.used += n;
        match window.uses.back_mut() {
            // Also when the time went back, so that the uses stay ordered.
            Some((last, used)) if *last >= at => {
                at = *last;
                *used += n;
            }
            Some(_) | None => window.uses.push_back((at, n)),
        }
        at
    }

    /// Removes `n` uses that were counted under this time but did not happen.
    pub fn give_back(self, window: &mut Window, at_ms: u64, n: u64) {
        if let Ok(place) = window.uses.binary_search_by_key(&at_ms, |(at, _)| *at)
            && let Some((_, used)) = window.uses.get_mut(place)
        {
            let n = n.min(*used);
            *used -= n;
            window.used -= n;
            if *used == 0 {
                window.uses.remove(place);
            }
        }
    }

    /// Removes the last `n` uses.
    pub fn give_back_last(self, window: &mut Window, mut n: u64) {
        while n > 0
            && let Some((_, used)) = window.uses.back_mut()
        {
            let less = n.min(*used);
            *used -= less;
            window.used -= less;
            n -= less;
            if *used == 0 {
                window.uses.pop_back();
            }
        }
    }

    /// When no use counts any more, in milliseconds; 0 when there are none.
    #[must_use]
    pub fn free_at_ms(self, window: &Window) -> u64 {
        let last = window.uses.back();
        last.map_or(0, |(at, _)| at.saturating_add(self.window_ms))
    }

    fn over(self, at_ms: u64, now_ms: u64) -> bool {
        at_ms.saturating_add(self.window_ms) <= now_ms
    }
}

impl Window {
    /// Whether no use is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.uses.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut uses = VecDeque::<(u64, u64)>::deserialize(deserializer)?;
        uses.make_contiguous().sort_unstable();
        let used = uses
            .iter()
            .try_fold(0_u64, |sum, (_, used)| sum.checked_add(*used));
        let used = used.ok_or_else(|| serde::de::Error::custom("more uses than a number holds"))?;
        Ok(Self { uses, used })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A model that stores every use forever.
    #[derive(Default)]
    struct Model(Vec<(u64, u64)>);

    impl Model {
        fn used(&self, limit: Limit, now: u64) -> u64 {
            let counts = |at: u64| at + limit.window_ms > now;
            let uses = self.0.iter().filter(|(at, _)| counts(*at));
            uses.map(|(_, n)| n).sum()
        }

        fn fits(&self, limit: Limit, now: u64, n: u64) -> bool {
            self.used(limit, now) + n <= limit.count
        }
    }

    proptest! {
        /// It allows what the model allows, and reports the exact wait.
        #[test]
        fn a_limit_holds_in_any_window_and_refuses_nothing_else(
            count in 0_u32..40,
            window_ms in 1_u64..400,
            steps in prop::collection::vec((0_u64..60, 1_u64..8, any::<bool>()), 0..300),
        ) {
            let limit = Limit::new(count, window_ms);
            let (mut window, mut model, mut now) = (Window::default(), Model::default(), 1_000);
            for (passes, n, back) in steps {
                now += passes;
                prop_assert_eq!(limit.room(&window, now), u64::from(count) - model.used(limit, now));
                match limit.check(&window, now, n) {
                    Ok(()) => {
                        prop_assert!(model.fits(limit, now, n));
                        let at = limit.charge(&mut window, now, n);
                        if back {
                            limit.give_back(&mut window, at, n);
                        } else {
                            model.0.push((now, n));
                        }
                    }
                    Err(NEVER_MS) => prop_assert!(n > count.into()),
                    Err(wait) => {
                        prop_assert!(!model.fits(limit, now, n));
                        prop_assert!(!model.fits(limit, now + wait - 1, n), "a shorter wait is enough");
                        prop_assert!(model.fits(limit, now + wait, n), "the wait is not enough");
                    }
                }
                prop_assert!(window.uses.len() as u64 <= TIMES_MAX);
            }
            // No window, wherever it begins, has more uses than the limit.
            for (begin, _) in &model.0 {
                let within = model.0.iter().filter(|(at, _)| (*begin..begin + window_ms).contains(at));
                prop_assert!(within.map(|(_, n)| n).sum::<u64>() <= count.into());
            }
            let bytes = rmp_serde::to_vec(&window).expect("writes");
            prop_assert_eq!(rmp_serde::from_slice::<Window>(&bytes).expect("reads"), window);
        }

        /// A limit too large to store every time never allows more, stores few times, and refuses a 128th longer at most.
        #[test]
        fn a_large_limit_never_lets_more_in(
            count in 129_u32..2_000,
            steps in prop::collection::vec((0_u64..40, 1_u64..60), 0..400),
        ) {
            let limit = Limit::new(count, 60_000 / 16);
            let late = limit.window_ms.div_ceil(TIMES_MAX);
            let (mut window, mut model, mut now) = (Window::default(), Model::default(), 1_000);
            for (passes, n) in steps {
                now += passes;
                match limit.check(&window, now, n) {
                    Ok(()) => {
                        prop_assert!(model.fits(limit, now, n));
                        limit.charge(&mut window, now, n);
                        model.0.push((now, n));
                    }
                    Err(_) => prop_assert!(!model.fits(limit, now.saturating_sub(late), n)),
                }
                prop_assert!(window.uses.len() as u64 <= TIMES_MAX + 1);
            }
        }
    }

    #[test]
    fn five_in_thirty_seconds_are_five_in_any_thirty_seconds() {
        let limit = Limit::new(5, 30_000);
        let mut window = Window::default();
        let mut taken = Vec::new();
        for now in 0..90_000 {
            if limit.check(&window, now, 1).is_ok() {
                limit.charge(&mut window, now, 1);
                taken.push(now);
            }
        }
        let at = [0, 30_000, 60_000].map(|at| [at; 5]).concat();
        // One use per millisecond is tried: each of the five is possible again 30 s later.
        assert_eq!(taken.len(), at.len());
        assert!(
            taken
                .iter()
                .zip(&at)
                .all(|(taken, at)| (*at..*at + 5).contains(taken))
        );
        assert_eq!(limit.check(&window, 60_005, 1), Err(29_995));
    }

    #[test]
    fn a_clock_that_goes_back_opens_nothing() {
        let limit = Limit::new(2, 1_000);
        let mut window = Window::default();
        limit.charge(&mut window, 10_000, 1);
        limit.charge(&mut window, 4_000, 1);
        assert_eq!(limit.check(&window, 4_000, 1), Err(7_000));
        assert_eq!(limit.check(&window, 11_000, 2), Ok(()));
    }

    #[test]
    fn a_limit_of_nothing_lets_nothing_through() {
        assert_eq!(
            Limit::new(0, 60_000).check(&Window::default(), 5, 1),
            Err(NEVER_MS)
        );
    }

    #[test]
    fn the_last_uses_are_given_back_first() {
        let limit = Limit::new(10, 1_000);
        let mut window = Window::default();
        limit.charge(&mut window, 1, 4);
        limit.charge(&mut window, 500, 6);
        limit.give_back_last(&mut window, 8);
        assert_eq!(limit.room(&window, 500), 8);
        assert_eq!(limit.free_at_ms(&window), 1_001);
        limit.give_back_last(&mut window, 8);
        assert!(window.is_empty());
    }
}
