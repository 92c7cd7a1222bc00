//! Comments taken away.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("removal::", stringify!($name)));
        })*
    };
}

cases!(
    a_pending_comment_is_never_shown,
    a_removal_comes_behind_what_was_shown_before_it,
    a_removal_overtakes_its_comment,
    a_removed_comment_is_in_no_answer_to_a_join,
    a_resume_from_memory_names_what_was_removed,
    a_resume_from_the_logs_names_what_was_removed,
    who_catches_up_hears_at_once,
    a_hole_may_hold_a_removal,
    a_removal_in_a_part_that_is_lost_leaves_nothing_to_be_seen,
    a_new_state_does_not_bring_a_comment_back,
    a_removal_that_a_state_brings_before_its_comment_holds,
    an_unknown_kind_passes_through,
);
