//! Whatever is written: cleaning never panics, holds its bounds, and changes nothing the second time.

use std::borrow::Cow;

use chorus_protocol::text::{
    COMMENT_LINES_MAX, NAME_CHARS_MAX, comment, description, mentions, name, shown_name, title,
};
use proptest::prelude::*;

/// Characters that the rules tell apart, and any others.
fn any_text() -> impl Strategy<Value = String> {
    let special: Vec<char> = [
        "a \n\r\t@1*é\u{85}\u{b}",
        "e\u{308}\u{323}\u{301}\u{489}\u{20e3}",
        "\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{61c}\u{202a}\u{202e}\u{2066}\u{2069}\u{2028}",
        "\u{ad}\u{34f}\u{115f}\u{1160}\u{180b}\u{180e}\u{2060}\u{2800}\u{3000}\u{3164}\u{feff}\u{ffa0}",
        "\u{fe00}\u{fe0e}\u{fe0f}\u{e0100}\u{e0101}\u{e000}\u{378}\u{fffc}\u{fffd}\u{600}",
        "🙂🏴🏽❤🇺🇦\u{1faff}",
        "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}\u{e0041}",
        "क्षमیשּׁก็ཧྐྵ葛ᠮကာ\u{103e}",
        "\u{958}\u{93c}\u{fb2c}\u{f71}\u{f72}\u{f73}가ᄀ\u{1161}\u{11a8}",
    ]
    .concat()
    .chars()
    .collect();
    let special = prop::sample::select(special);
    let any = prop_oneof![8 => special.boxed(), 1 => any::<char>().boxed()];
    prop::collection::vec(any, 0..60).prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    #[test]
    fn cleaning_again_changes_nothing_and_bounds_hold(text in any_text(), chars_max in 1..60_u32) {
        if let Ok(once) = comment(&text, chars_max) {
            prop_assert!(once.chars().count() <= chars_max as usize);
            prop_assert!(once.lines().count() <= COMMENT_LINES_MAX);
            prop_assert!(!once.contains("\n\n\n"));
            let twice = comment(&once, chars_max);
            prop_assert_eq!(twice.as_deref(), Ok(&*once));
        }
        for clean in [title, name, description] {
            if let Ok(once) = clean(&text) {
                let twice = clean(&once);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
            }
        }
        let shown = shown_name(Some(&text), "u");
        prop_assert!(!shown.is_empty() && shown.chars().count() <= NAME_CHARS_MAX);
        prop_assert_eq!(shown_name(Some(&shown), "u"), shown);
    }

    #[test]
    fn a_mention_is_a_name_that_can_be_mentioned(text in any_text()) {
        let text = format!("@{text}");
        for name in mentions(&text) {
            let again = format!("@{name}");
            prop_assert_eq!(mentions(&again), [&*name]);
        }
    }

    #[test]
    fn printable_ascii_is_not_changed(text in "[!-~]([ -~]{0,80}[!-~])?") {
        let same = comment(&text, 500);
        prop_assert!(matches!(same, Ok(Cow::Borrowed(same)) if same == text));
        let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
        let titled = title(&text);
        prop_assert_eq!(titled.as_deref(), Ok(&*words.join(" ")));
    }
}
