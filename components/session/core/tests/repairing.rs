//! Holes in what comes from the logs.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("repairing::", stringify!($name)));
        })*
    };
}

cases!(
    a_hole_is_filled_before_what_lies_behind_it,
    a_hole_in_one_region_does_not_hold_the_other_up,
    a_hole_that_cannot_be_filled_closes_the_viewers,
    a_hole_without_an_answer_closes_the_viewers,
    a_repeated_state_closes_who_was_shown_a_part,
    a_new_log_of_a_region_begins_at_its_beginning,
    comments_that_cannot_be_read_are_passed_over,
);
