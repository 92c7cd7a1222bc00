//! How long comments wait to go out together.

use chorus_protocol::limits::Batching;

/// Deliveries a second of one stream (comments × members) from which it has its full window.
const FULL_DELIVERIES_PER_S: u64 = 20_000;

/// The window of a stream, in milliseconds, that gets `comments_per_s` for `members`, in a shard that makes
/// `shard_sends_per_s` in all. 0: every comment goes at once.
pub(crate) fn window_ms(
    batching: &Batching,
    comments_per_s: u64,
    members: u64,
    shard_sends_per_s: u64,
) -> u64 {
    let window_max = batching.window_ms_max;
    // With less than two comments in the longest window there is nothing to group.
    if window_max == 0 || comments_per_s.saturating_mul(window_max) < 2_000 {
        return 0;
    }
    let deliveries = comments_per_s
        .saturating_mul(members)
        .min(FULL_DELIVERIES_PER_S);
    let window = window_max.saturating_mul(deliveries) / FULL_DELIVERIES_PER_S;
    let hot = batching.hot_sends_per_s.max(1);
    let over = shard_sends_per_s.saturating_sub(hot).min(hot);
    let more = batching.window_hot_ms_max.saturating_sub(window_max);
    // The part for the heat is the stream's own share of the load, too: a small stream is not slowed by a big one.
    let share = more.saturating_mul(deliveries) / FULL_DELIVERIES_PER_S;
    window.saturating_add(share.saturating_mul(over) / hot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_with_the_load() {
        let batching = Batching::default();
        let window = |comments, members, sends| window_ms(&batching, comments, members, sends);
        assert_eq!(window(1, 1_000_000, 1_000_000), 0);
        assert_eq!(window(100, 50, 5_000), 25);
        assert_eq!(window(1_000, 100, 50_000), 100);
        assert_eq!(window(1_000, 300, 150_000), 300);
        assert_eq!(window(1_000, 1_000, 1_000_000), 500);
        assert_eq!(window(1_000, 2, 1_000_000), 50);
        let off = Batching {
            window_ms_max: 0,
            ..Batching::default()
        };
        assert_eq!(window_ms(&off, 1_000, 1_000, 1_000_000), 0);
    }
}
