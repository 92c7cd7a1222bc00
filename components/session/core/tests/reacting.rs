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
    reactions_to_comments_are_not_available,
);
