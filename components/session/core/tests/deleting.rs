//! Taking comments away: who may ask.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("deleting::", stringify!($name)));
        })*
    };
}

cases!(
    an_author_deletes_its_own_and_all_viewers_hear,
    what_the_gateway_refuses_is_an_error,
    a_moderator_deletes_and_hears_that_it_is_applied,
    who_may_not_ask_is_told,
    a_moderator_removes_and_nobody_else_may_moderate,
    a_moderator_highlights_and_all_viewers_see_it,
    an_unanswered_deletion_is_unconfirmed,
    too_many_waiting_deletions_are_unavailable,
);
