//! The limits of one user: comments in all streams and in one stream, slow mode, reactions.

use serde::{Deserialize, Serialize};

use super::{Limit, Window};
use crate::codes::Reason;
use crate::limits::Limits;

/// Streams remembered for one user, at most; then the one written to longest ago is forgotten.
const STREAMS_MAX: usize = 64;
/// Milliseconds for which the time of the last comment is remembered for slow mode.
const SLOW_MODE_MS_REMEMBERED: u64 = 600_000;
const MINUTE_MS: u64 = 60_000;
const STREAM_WINDOW_MS: u64 = 30_000;

/// The rate limits of every user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLimits {
    /// Comments in all streams.
    pub comments: Limit,
    /// Comments in one stream.
    pub comments_in_stream: Limit,
    /// Reactions in all streams.
    pub reactions: Limit,
}

impl From<&Limits> for UserLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            comments: Limit::new(limits.comments_per_minute, MINUTE_MS),
            comments_in_stream: Limit::new(limits.comments_per_stream_30s, STREAM_WINDOW_MS),
            reactions: Limit::new(limits.reactions_per_minute, MINUTE_MS),
        }
    }
}

/// Why a comment is refused, and for how many milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommentRefusal {
    /// By a rate limit.
    RateLimited(u64),
    /// By the stream's slow mode.
    SlowMode(u64),
}

impl CommentRefusal {
    /// The reason for a receipt.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::RateLimited(_) => Reason::RateLimited,
            Self::SlowMode(_) => Reason::SlowMode,
        }
    }

    /// Milliseconds from now until a comment would be accepted.
    #[must_use]
    pub fn retry_after_ms(self) -> u64 {
        match self {
            Self::RateLimited(ms) | Self::SlowMode(ms) => ms,
        }
    }
}

/// How a comment was counted, so that it can be given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charged {
    at_ms: u64,
    in_stream_at_ms: u64,
    now_ms: u64,
    wrote_before_ms: Option<u64>,
}

/// The uses of one user; `S` identifies a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserUses<S> {
    comments: Window,
    reactions: Window,
    /// Until this time, in milliseconds, reactions are refused because the gateway refused some.
    #[serde(default)]
    no_reactions_until_ms: u64,
    /// Ordered by the time of the last comment.
    streams: Vec<StreamUses<S>>,
}

/// The uses of one user in one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StreamUses<S> {
    stream: S,
    comments: Window,
    /// When the user wrote last, in milliseconds.
    wrote_ms: Option<u64>,
    /// Until this time, in milliseconds, comments are refused for this reason because the gateway refused one.
    #[serde(default)]
    held_off: Option<(u64, CommentRefusal)>,
}

impl<S> Default for UserUses<S> {
    fn default() -> Self {
        Self {
            comments: Window::default(),
            reactions: Window::default(),
            no_reactions_until_ms: 0,
            streams: Vec::new(),
        }
    }
}

impl<S> StreamUses<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            comments: Window::default(),
            wrote_ms: None,
            held_off: None,
        }
    }

    fn free_at_ms(&self, limits: &UserLimits) -> u64 {
        let slow = self
            .wrote_ms
            .map_or(0, |at| at.saturating_add(SLOW_MODE_MS_REMEMBERED));
        let held_off = self.held_off.map_or(0, |(until, _)| until);
        let comments = limits.comments_in_stream.free_at_ms(&self.comments);
        comments.max(slow).max(held_off)
    }
}

impl<S: Clone + PartialEq> UserUses<S> {
    /// Checks whether a comment is possible now; `slow_mode_ms` is 0 without slow mode.
    ///
    /// # Errors
    /// Why it is not, and for how long.
    pub fn check_comment(
        &self,
        limits: &UserLimits,
        stream: &S,
        slow_mode_ms: u64,
        now_ms: u64,
    ) -> Result<(), CommentRefusal> {
        let here = self.streams.iter().find(|here| here.stream == *stream);
        let none = Window::default();
        let (in_stream, wrote_ms, held_off) = match here {
            Some(here) => (&here.comments, here.wrote_ms, here.held_off),
            None => (&none, None, None),
        };
        let slow_until = wrote_ms.map_or(0, |at| at.saturating_add(slow_mode_ms));
        if slow_mode_ms > 0 && slow_until > now_ms {
            return Err(CommentRefusal::SlowMode(slow_until - now_ms));
        }
        match held_off {
            Some((until, CommentRefusal::RateLimited(_))) if until > now_ms => {
                return Err(CommentRefusal::RateLimited(until - now_ms));
            }
            // Only while slow mode is still on.
            Some((until, CommentRefusal::SlowMode(_))) if until > now_ms && slow_mode_ms > 0 => {
                return Err(CommentRefusal::SlowMode(until - now_ms));
            }
            Some(_) | None => {}
        }
        let everywhere = limits.comments.check(&self.comments, now_ms, 1);
        let in_stream = limits.comments_in_stream.check(in_stream, now_ms, 1);
        let waits = [everywhere, in_stream].into_iter().filter_map(Result::err);
        match waits.max() {
            Some(wait) => Err(CommentRefusal::RateLimited(wait)),
            None => Ok(()),
        }
    }

    /// Counts a comment.
    pub fn charge_comment(&mut self, limits: &UserLimits, stream: &S, now_ms: u64) -> Charged {
        let at_ms = limits.comments.charge(&mut self.comments, now_ms, 1);
        let here = self.stream(limits, stream, now_ms);
        let in_stream_at_ms = limits
            .comments_in_stream
            .charge(&mut here.comments, now_ms, 1);
        Charged {
            at_ms,
            in_stream_at_ms,
            now_ms,
            wrote_before_ms: here.wrote_ms.replace(now_ms),
        }
    }

    /// Removes a counted comment that certainly was not stored.
    pub fn give_back_comment(&mut self, limits: &UserLimits, stream: &S, charged: Charged) {
        limits
            .comments
            .give_back(&mut self.comments, charged.at_ms, 1);
        if let Some(here) = self.streams.iter_mut().find(|here| here.stream == *stream) {
            limits
                .comments_in_stream
                .give_back(&mut here.comments, charged.in_stream_at_ms, 1);
            if here.wrote_ms == Some(charged.now_ms) {
                here.wrote_ms = charged.wrote_before_ms;
            }
        }
    }

    /// Refuses comments in a stream for as long as the gateway, which counts the user's uses at all PoPs, refused one. So it
    /// is not asked again for each comment of a flood.
    pub fn hold_comments_off(
        &mut self,
        limits: &UserLimits,
        stream: &S,
        refusal: CommentRefusal,
        now_ms: u64,
    ) {
        let until = now_ms.saturating_add(refusal.retry_after_ms());
        self.stream(limits, stream, now_ms).held_off = Some((until, refusal));
    }

    /// Checks whether `n` reactions are possible now.
    ///
    /// # Errors
    /// The milliseconds until they are.
    pub fn check_reactions(&self, limits: &UserLimits, now_ms: u64, n: u64) -> Result<(), u64> {
        if self.no_reactions_until_ms > now_ms {
            return Err(self.no_reactions_until_ms - now_ms);
        }
        limits.reactions.check(&self.reactions, now_ms, n)
    }

    /// How many reactions are possible now.
    #[must_use]
    pub fn reactions_room(&self, limits: &UserLimits, now_ms: u64) -> u64 {
        limits.reactions.room(&self.reactions, now_ms)
    }

    /// Counts `n` reactions; returns the time under which they are counted.
    pub fn charge_reactions(&mut self, limits: &UserLimits, now_ms: u64, n: u64) -> u64 {
        limits.reactions.charge(&mut self.reactions, now_ms, n)
    }

    /// Removes `n` reactions that were counted under this time and certainly not added to the totals.
    pub fn give_back_reactions(&mut self, limits: &UserLimits, at_ms: u64, n: u64) {
        limits.reactions.give_back(&mut self.reactions, at_ms, n);
    }

    /// Removes the last `n` reactions, which the gateway refused, and refuses further ones until this time. `false` when no
    /// reactions are counted here, that is when those of another shard were refused.
    pub fn hold_reactions_off(&mut self, limits: &UserLimits, n: u64, until_ms: u64) -> bool {
        if self.reactions.is_empty() {
            return false;
        }
        limits.reactions.give_back_last(&mut self.reactions, n);
        self.no_reactions_until_ms = until_ms;
        true
    }

    /// When none of these uses counts any more, in milliseconds.
    #[must_use]
    pub fn free_at_ms(&self, limits: &UserLimits) -> u64 {
        let streams = self.streams.iter().map(|stream| stream.free_at_ms(limits));
        let own = limits
            .comments
            .free_at_ms(&self.comments)
            .max(limits.reactions.free_at_ms(&self.reactions))
            .max(self.no_reactions_until_ms);
        streams.fold(own, u64::max)
    }

    /// Uses of which only the numbers are known; all count as used now. `streams` has for each stream the number of comments
    /// and the time of the last one.
    #[must_use]
    pub fn of_numbers(
        limits: &UserLimits,
        now_ms: u64,
        (comments, reactions): (u64, u64),
        streams: impl IntoIterator<Item = (S, u64, Option<u64>)>,
    ) -> Self {
        let mut uses = Self::default();
        if comments > 0 {
            limits.comments.charge(&mut uses.comments, now_ms, comments);
        }
        if reactions > 0 {
            uses.charge_reactions(limits, now_ms, reactions);
        }
        for (stream, comments, wrote_ms) in streams {
            let here = uses.stream(limits, &stream, now_ms);
            if comments > 0 {
                limits
                    .comments_in_stream
                    .charge(&mut here.comments, now_ms, comments);
            }
            here.wrote_ms = wrote_ms;
        }
        uses
    }

    fn stream(&mut self, limits: &UserLimits, stream: &S, now_ms: u64) -> &mut StreamUses<S> {
        let known = self.streams.iter().position(|here| here.stream == *stream);
        let place = known.unwrap_or_else(|| {
            self.streams.retain(|here| here.free_at_ms(limits) > now_ms);
            if self.streams.len() >= STREAMS_MAX {
                self.streams.remove(0);
            }
            self.streams.push(StreamUses::new(stream.clone()));
            self.streams.len() - 1
        });
        // Move the stream to the end: the list is ordered by the time of the last comment.
        let last = self.streams.len() - 1;
        if place < last {
            self.streams[place..].rotate_left(1);
        }
        &mut self.streams[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> UserLimits {
        UserLimits::from(&Limits::default())
    }

    fn write(uses: &mut UserUses<u32>, stream: u32, now: u64) -> Result<Charged, CommentRefusal> {
        uses.check_comment(&limits(), &stream, 0, now)?;
        Ok(uses.charge_comment(&limits(), &stream, now))
    }

    #[test]
    fn five_in_a_stream_and_thirty_in_all() {
        let mut uses = UserUses::default();
        for stream in 0..6 {
            for _ in 0..5 {
                write(&mut uses, stream, 1_000).expect("within the limits");
            }
            let sixth = write(&mut uses, stream, 2_000);
            let wait = if stream < 5 { 29_000 } else { 59_000 };
            assert_eq!(sixth, Err(CommentRefusal::RateLimited(wait)));
        }
        assert!(write(&mut uses, 9, 60_999).is_err());
        assert!(write(&mut uses, 9, 61_000).is_ok());
    }

    #[test]
    fn what_is_given_back_may_be_used_again() {
        let mut uses = UserUses::default();
        let charged: Vec<Charged> = (0..5)
            .map(|now| write(&mut uses, 1, now).expect("five"))
            .collect();
        assert!(write(&mut uses, 1, 5).is_err());
        uses.give_back_comment(&limits(), &1, charged[4]);
        let slow = uses.check_comment(&limits(), &1, 1_000, 5);
        assert_eq!(
            slow,
            Err(CommentRefusal::SlowMode(998)),
            "it wrote last at 3"
        );
        assert!(write(&mut uses, 1, 5).is_ok());
        assert!(write(&mut uses, 1, 5).is_err());
    }

    #[test]
    fn who_is_held_off_waits_as_told_in_that_stream_alone() {
        let mut uses = UserUses::default();
        let told = CommentRefusal::SlowMode(500);
        uses.hold_comments_off(&limits(), &1, told, 100);
        let check = |uses: &UserUses<u32>, now| uses.check_comment(&limits(), &1, 1_000, now);
        assert_eq!(check(&uses, 200), Err(CommentRefusal::SlowMode(400)));
        assert_eq!(check(&uses, 600), Ok(()));
        assert!(
            write(&mut uses, 1, 200).is_ok(),
            "slow mode was switched off"
        );
        let told = CommentRefusal::RateLimited(500);
        uses.hold_comments_off(&limits(), &1, told, 300);
        assert_eq!(
            write(&mut uses, 1, 400),
            Err(CommentRefusal::RateLimited(400))
        );
        assert!(write(&mut uses, 2, 400).is_ok());
        assert!(write(&mut uses, 1, 800).is_ok());
    }

    #[test]
    fn reactions_are_held_off_where_some_were_given() {
        let mut uses = UserUses::<u32>::default();
        assert!(!uses.hold_reactions_off(&limits(), 5, 900));
        uses.charge_reactions(&limits(), 10, 100);
        assert_eq!(uses.check_reactions(&limits(), 10, 1), Err(60_000));
        assert!(uses.hold_reactions_off(&limits(), 88, 900));
        assert_eq!(uses.check_reactions(&limits(), 400, 1), Err(500));
        assert_eq!(uses.check_reactions(&limits(), 900, 88), Ok(()));
        assert_eq!(uses.free_at_ms(&limits()), 60_010);
    }

    #[test]
    fn the_stream_written_to_longest_ago_is_forgotten() {
        let unlimited = UserLimits::from(&Limits {
            comments_per_minute: 1_000,
            ..Limits::default()
        });
        let mut uses = UserUses::default();
        for stream in 0..64_u32 {
            uses.charge_comment(&unlimited, &stream, 1_000);
        }
        uses.charge_comment(&unlimited, &0, 1_001);
        uses.charge_comment(&unlimited, &64, 1_002);
        let streams: Vec<u32> = uses.streams.iter().map(|here| here.stream).collect();
        assert_eq!(streams.len(), STREAMS_MAX);
        assert!(streams.contains(&0) && !streams.contains(&1));
    }
}
