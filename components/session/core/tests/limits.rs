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
    five_in_thirty_seconds_are_five_in_any_thirty_seconds,
    what_the_gateway_refuses_is_given_back_and_held_off,
    a_post_stored_before_costs_nothing,
    an_admin_is_not_closed_for_a_flood,
    a_flood_of_messages_is_closed_and_disturbs_nobody,
    checking_tokens_costs_more,
    too_many_streams_are_refused,
    garbage_gets_errors_and_the_socket_stays,
    pings_are_echoed,
    a_lagging_viewer_is_forgotten,
);
