//! How comments are grouped.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("batching::", stringify!($name)));
        })*
    };
}

cases!(
    a_comment_after_a_quiet_time_goes_at_once,
    what_comes_together_goes_together_sorted,
    the_window_grows_under_load_and_nothing_is_lost,
    a_full_frame_goes_at_once,
    batching_off_means_one_comment_a_frame,
    each_encoding_is_encoded_once,
    a_repeated_id_is_shown_once,
);
