//! Coming back: every missed comment once and in order, or a gap that is told.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("resuming::", stringify!($name)));
        })*
    };
}

cases!(
    nothing_missed_is_nothing_sent,
    a_short_absence_is_answered_from_memory,
    a_long_absence_asks_the_logs_and_joins_what_came_meanwhile,
    viewers_at_the_same_place_share_one_question,
    more_than_the_first_part_follows_before_anything_live,
    a_gap_is_told_with_the_newest,
    unreadable_and_foreign_tokens_are_gaps,
    a_region_that_is_missing_begins_at_its_beginning,
    a_viewer_ahead_of_this_pop_waits_for_it,
    a_place_that_never_comes_is_a_gap,
    an_unanswered_question_is_a_gap,
    memory_that_moved_on_asks_again,
    a_viewer_that_leaves_meanwhile_gets_nothing,
);
