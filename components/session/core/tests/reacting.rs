//! Reactions.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("reacting::", stringify!($name)));
        })*
    };
}

cases!(
    reactions_are_summed_and_handed_over_twice_a_second,
    totals_are_shown_twice_a_second_only_where_they_changed,
    bad_reactions_are_errors,
    a_react_counts_its_count_and_a_hundred_a_minute_are_all,
    reactions_refused_at_the_gateway_are_told_and_held_off,
    reactions_to_comments_are_not_available,
);
