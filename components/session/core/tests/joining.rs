//! Joining and leaving.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("joining::", stringify!($name)));
        })*
    };
}

cases!(
    joined_brings_the_newest_in_both_encodings,
    joins_wait_for_the_stream_and_share_one_subscription,
    an_unknown_stream_is_an_error_and_the_socket_stays,
    a_stream_is_given_up_after_a_grace,
    a_return_within_the_grace_keeps_the_stream,
    roles_follow_the_token_and_the_stream,
    a_second_join_is_refused_and_a_leave_ends_the_first,
    silence_is_closed,
    viewers_are_counted_and_told,
    settings_that_change_are_told,
    a_pong_comes_behind_the_answer_to_what_was_said_before_the_ping,
);
