//! What a session counts for the host's metrics.

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters since the instance began; not part of a snapshot.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// Each with its metric name.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

stats! {
    /// Connections that brought a bad token.
    tokens_refused,
    /// Connections closed because they joined nothing in time.
    silent_closed,
    /// Connections closed because they sent too much.
    flood_closed,
    /// Connections closed because their stream jumped.
    gap_closed,
    /// Connections the host found too slow.
    lagged,
    /// Client messages that could not be read.
    messages_malformed,
    /// Client messages of an unknown type.
    messages_unknown,
    /// Client messages for what is not part of this release.
    messages_unavailable,
    /// Posts handed to the log.
    posts_published,
    /// Posts that came again.
    posts_repeated,
    /// Posts refused by a rule.
    posts_refused,
    /// Posts refused by a rate or slow mode.
    posts_rate_limited,
    /// Posts refused because no id can be minted or too many wait.
    posts_unavailable,
    /// Posts whose outcome is not known.
    posts_unconfirmed,
    /// Reactions taken, counted by their `count`.
    reactions_taken,
    /// `react` messages refused by a rate.
    reactions_rate_limited,
    /// Words to users that were told to their connections.
    user_words,
    /// Words to users that could not be read.
    user_words_malformed,
    /// Remembered users dropped before their buckets were full.
    users_evicted,
    /// Remembered posts dropped before their time.
    posts_evicted,
    /// Decisions about comments handed to the log.
    commands_published,
    /// Decisions refused, by a rule here or by the gateway.
    commands_refused,
    /// Decisions whose outcome is not known.
    commands_unconfirmed,
    /// Comments shown.
    comments_shown,
    /// Comments that came again.
    comments_repeated,
    /// Comments taken away.
    comments_removed,
    /// Updates of comments taken in.
    comments_updated,
    /// Decisions of a stream forgotten because it has too many.
    decisions_forgotten,
    /// Events of a kind that is not known here.
    events_unknown,
    /// Events and messages of the host that could not be read.
    deliveries_malformed,
    /// Holes seen in deliveries.
    holes,
    /// Holes that could not be filled.
    holes_lost,
    /// Resumes answered from what the shard remembers.
    resumes_recent,
    /// Resumes that asked the logs.
    resumes_replayed,
    /// Resumes answered with `gap`.
    resumes_gap,
}
