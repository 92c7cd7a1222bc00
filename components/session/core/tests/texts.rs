//! What becomes of texts that are not as they seem.
//! (The cases live in `chorus-session-scenarios`, which the component runs too.)

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            chorus_session_scenarios::check_natively(concat!("texts::", stringify!($name)));
        })*
    };
}

cases!(
    what_is_not_seen_is_empty_and_what_is_too_much_goes,
    mentions_are_whole_names_composed_and_each_once,
    five_hundred_emoji_as_escapes_are_taken_in_a_message_of_the_longest_form,
    a_name_is_shown_clean_or_the_user_id_is,
);
