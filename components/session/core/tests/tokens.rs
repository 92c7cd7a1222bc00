//! Tokens on live connections.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("tokens::", stringify!($name)));
        })*
    };
}

cases!(
    a_bad_token_at_opening_is_closed,
    a_bad_token_later_is_an_error_and_reading_goes_on,
    writing_ends_with_the_token_and_comes_back_with_the_next,
    another_user_is_refused_on_the_same_connection,
    anonymous_viewers_may_become_somebody,
    a_moderators_end_is_noticed,
    a_token_is_good_until_its_end_and_the_leeway,
    without_leeway_a_token_ends_to_the_millisecond,
    a_token_for_another_service_is_refused,
);
