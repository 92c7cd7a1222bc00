//! Floods and garbage.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("limits::", stringify!($name)));
        })*
    };
}

cases!(
    forty_posts_in_a_second_pass_five,
    comments_a_minute_hold_over_streams,
    an_admin_has_no_rates,
    a_flood_of_messages_is_closed_and_disturbs_nobody,
    checking_tokens_costs_more,
    too_many_streams_are_refused,
    garbage_gets_errors_and_the_socket_stays,
    pings_are_echoed,
    a_lagging_viewer_is_forgotten,
);
