//! Posts and the truth about them.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("posting::", stringify!($name)));
        })*
    };
}

cases!(
    a_post_is_accepted_then_durable_then_shown,
    bad_posts_are_rejected_with_their_reason,
    a_repeat_is_answered_and_not_written,
    a_repeat_while_waiting_tells_the_newest_connection_too,
    a_duplicate_gets_the_first_ones_id,
    a_refused_post_may_be_tried_again,
    an_unanswered_post_is_unconfirmed_and_keeps_its_id,
    a_late_answer_is_still_the_truth,
    ids_rise_and_need_a_lease,
    the_authors_end_disturbs_nothing,
    an_ended_stream_takes_no_comments,
    slow_mode_holds_for_viewers_only,
    too_many_waiting_posts_are_unavailable,
);
