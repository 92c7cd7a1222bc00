//! A stream's life while it is watched.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("life::", stringify!($name)));
        })*
    };
}

cases!(
    joined_says_title_and_status,
    the_end_is_told_in_both_encodings_after_what_came_before_it,
    only_what_changed_is_told,
    an_older_word_changes_nothing,
    a_state_after_a_gap_does_not_bring_an_ended_stream_back,
    who_still_catches_up_is_told,
    a_late_joiner_sees_the_end_and_reads_what_was_said,
    nothing_is_written_to_an_ended_stream,
    a_status_of_a_later_version_takes_nothing,
    errors_name_their_stream,
    a_stream_created_later_is_no_longer_missing,
);
