//! Words to users.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("words::", stringify!($name)));
        })*
    };
}

cases!(
    the_host_knows_who_is_here_and_how_often,
    a_number_that_is_opened_again_is_another_connection,
    a_notice_reaches_all_connections_of_the_user_and_nobody_else,
    a_user_is_disconnected_with_the_reason_and_may_come_back,
    a_word_of_tomorrow_changes_nothing,
);
