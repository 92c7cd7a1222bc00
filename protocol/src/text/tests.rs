//! Cleaning of usual texts and of texts made to do harm.

use super::*;

fn cleaned(text: &str) -> Result<String, TextError> {
    comment(text, 500).map(Cow::into_owned)
}

fn kept(text: &str) {
    assert_eq!(cleaned(text).as_deref(), Ok(text), "{}", escaped(text));
}

fn escaped(text: &str) -> String {
    text.chars().flat_map(char::escape_unicode).collect()
}

/// Each alone shows nothing, although some have a width.
const NOTHING: [&str; 40] = [
    "\u{200b}",
    "\u{2060}",
    "\u{202e}",
    "\u{ad}",
    "\u{34f}",
    "\u{61c}",
    "\u{115f}",
    "\u{1160}",
    "\u{17b4}",
    "\u{180e}",
    "\u{180b}",
    "\u{200c}",
    "\u{200d}",
    "\u{200e}",
    "\u{200f}",
    "\u{202a}",
    "\u{2028}",
    "\u{2029}",
    "\u{2062}",
    "\u{2066}",
    "\u{206a}",
    "\u{2800}",
    "\u{3000}",
    "\u{3164}",
    "\u{fe0f}",
    "\u{fe00}",
    "\u{feff}",
    "\u{ffa0}",
    "\u{fff9}",
    "\u{fffc}",
    "\u{1bca0}",
    "\u{1d159}",
    "\u{1d173}",
    "\u{e0001}",
    "\u{e0041}",
    "\u{e0100}",
    "\u{e000}",
    "\u{10fffd}",
    "\u{378}",
    "\u{301}",
];

#[test]
fn what_is_not_seen_is_empty_in_every_kind_of_text() {
    for nothing in NOTHING {
        for text in [
            nothing.to_owned(),
            nothing.repeat(7),
            format!(" {nothing}\n{nothing} "),
        ] {
            assert_eq!(cleaned(&text), Err(TextError::Empty), "{}", escaped(&text));
            assert_eq!(name(&text), Err(TextError::Empty), "{}", escaped(&text));
            assert_eq!(title(&text), Err(TextError::Empty), "{}", escaped(&text));
            assert_eq!(description(&text).as_deref(), Ok(""), "{}", escaped(&text));
        }
        // With a visible character it is a text.
        assert!(
            cleaned(&format!("a{nothing}")).is_ok(),
            "{}",
            escaped(nothing)
        );
    }
    assert_eq!(cleaned(&NOTHING.concat()), Err(TextError::Empty));
    for text in ["", " ", "\t\n", "\u{85}"] {
        assert_eq!(cleaned(text), Err(TextError::Empty));
    }
}

#[test]
fn all_default_ignorable_and_unassigned_code_points_are_empty() {
    let set = regex_syntax::parse(
        r"[[\p{Default_Ignorable_Code_Point}\p{Co}\p{Cf}\p{Cn}]--\p{Extended_Pictographic}--\p{Prepended_Concatenation_Mark}]",
    );
    let hir = set.expect("a class of Unicode");
    let regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(set)) = hir.kind()
    else {
        panic!("not a set");
    };
    for range in set.ranges() {
        for c in range.start()..=range.end() {
            // The standard library may have letters of a newer Unicode.
            if !c.is_alphanumeric() {
                assert_eq!(cleaned(&c.to_string()), Err(TextError::Empty), "{c:?}");
            }
        }
    }
}

#[test]
fn controls_are_refused_and_line_ends_are_newlines() {
    assert_eq!(cleaned("a\u{0}b"), Err(TextError::Control));
    assert_eq!(cleaned("a\u{7f}b"), Err(TextError::Control));
    assert_eq!(cleaned("é\u{9b}b"), Err(TextError::Control));
    assert_eq!(title("a\u{0}b"), Err(TextError::Control));
    assert_eq!(name("a\u{0}b\u{1b}").as_deref(), Ok("ab"));
    for end in [
        "\n", "\r", "\r\n", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}",
    ] {
        assert_eq!(
            cleaned(&format!("a{end}b")).as_deref(),
            Ok("a\nb"),
            "{end:?}"
        );
        assert_eq!(title(&format!("a{end}b")).as_deref(), Ok("a b"), "{end:?}");
    }
    assert_eq!(cleaned("a\tb  c").as_deref(), Ok("a b  c"));
}

#[test]
fn newlines_in_a_row_and_lines_are_bounded() {
    let tall = format!("a{}b", "\n".repeat(498));
    assert_eq!(cleaned(&tall).as_deref(), Ok("a\n\nb"));
    // Lines without visible characters are empty.
    for blank in [
        "\u{200b}",
        " ",
        "\u{2800}",
        "\u{200e}",
        "\u{3164}",
        "\u{ad}\u{feff}",
    ] {
        let tall = format!("a{}b", format!("\n{blank}").repeat(90));
        let lines = cleaned(&tall).expect("a text").lines().count();
        assert_eq!(lines, 3, "{}", escaped(blank));
    }
    let lines: String = (0..90).map(|i| format!("{i}\n")).collect();
    let text = cleaned(&lines).expect("a text");
    assert_eq!(text.lines().count(), COMMENT_LINES_MAX);
    assert!(text.ends_with("88 89"), "{text}");
}

#[test]
fn directions_do_not_reach_beyond_a_text() {
    assert_eq!(cleaned("\u{202e}evil").as_deref(), Ok("evil"));
    assert_eq!(
        cleaned("a\u{2066}b\u{2069}\u{202d}c\u{202c}").as_deref(),
        Ok("abc")
    );
    // Directional marks are kept in a comment.
    kept("שלום\u{200f}! a\u{200e} \u{61c}5");
    for text in ["\u{202e}evil", "evil\u{200f}", "\u{2067}evil"] {
        assert_eq!(name(text).as_deref(), Ok("evil"));
        assert_eq!(title(text).as_deref(), Ok("evil"));
    }
}

#[test]
fn marks_on_one_base_are_bounded() {
    let smear = format!("a{}b", "\u{301}".repeat(400));
    assert_eq!(cleaned(&smear), Ok(format!("a{}b", "\u{301}".repeat(4))));
    // Marks of every script, mixed, and with invisible characters between them.
    for marks in [
        "\u{e47}",
        "\u{64b}",
        "\u{20dd}",
        "\u{591}",
        "\u{f71}",
        "\u{301}\u{5b0}",
        "\u{489}\u{200d}",
        "\u{308}\u{34f}",
    ] {
        let text = cleaned(&format!("a{}", marks.repeat(100))).expect("a text");
        assert!(text.chars().count() <= 14, "{}", escaped(&text));
    }
    // A precomposed base can have further marks.
    assert!(
        name(&format!("é{}", "\u{301}".repeat(60)))
            .expect("a name")
            .chars()
            .count()
            <= 5
    );
}

#[test]
fn emoji_stay_whole() {
    for emoji in [
        "❤️",
        "❤️‍🔥",
        "👨‍👩‍👧‍👦",
        "👩🏽‍🚒",
        "🏳️‍🌈",
        "🏳️‍⚧️",
        "🏴‍☠️",
        "👁️‍🗨️",
        "🕵🏽‍♂️",
        "☝🏿",
        "🧑🏻‍❤️‍💋‍🧑🏿",
        "🇺🇦",
        "🇩🇪🇫🇷",
        "1️⃣",
        "#️⃣",
        "*️⃣",
        "©️",
        "™️",
        "⌚︎",
        "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
        "👨🏾‍🦱",
        "🐻‍❄️",
        "🙂‍↔️",
        "🫱🏼‍🫲🏿",
        "㊗️",
    ] {
        kept(emoji);
        kept(&emoji.repeat(3));
        kept(&format!("go {emoji}!"));
        assert_eq!(name(emoji).as_deref(), Ok(emoji));
        assert_eq!(
            title(&format!("{emoji} live")).as_deref(),
            Ok(&*format!("{emoji} live"))
        );
    }
    // Code points reserved for later emoji.
    kept("\u{1faff}");
}

#[test]
fn what_is_in_no_sequence_of_emoji_goes() {
    for (text, left) in [
        ("\u{200d}🙂", "🙂"),
        ("🙂\u{200d}", "🙂"),
        ("🙂\u{200d}a", "🙂a"),
        ("🙂\u{200d}\u{200d}🙂", "🙂\u{200d}🙂"),
        ("a\u{fe0f}b", "ab"),
        ("❤\u{fe0f}\u{fe0f}", "❤\u{fe0f}"),
        ("🙂\u{e0067}\u{e0062}\u{e007f}", "🙂"),
        // A text hidden in tags, and tags without an end.
        ("🏴\u{e0068}\u{e0069}\u{e0020}\u{e0074}\u{e007f}", "🏴"),
        ("🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}", "🏴"),
        ("a\u{e0100}\u{e0101}b", "ab"),
    ] {
        assert_eq!(cleaned(text).as_deref(), Ok(left), "{}", escaped(text));
    }
}

/// Usual texts with marks, joiners and selectors, which must be kept.
const REAL: [(&str, &str); 24] = [
    ("Hindi", "क्षत्रिय श्रीमान् कृष्ण, रु\u{200d} क्\u{200d}ष"),
    ("Marathi", "दर्\u{200d}या, सुऱ्या"),
    ("Bengali", "র\u{200d}্যাব, উৎসব, ক্\u{200c}ষ"),
    ("Malayalam", "അവന്\u{200d} വന്നു"),
    ("Sinhala", "ශ්\u{200d}රී ලංකා"),
    ("Tamil", "தமிழ் நாட்டு"),
    ("Persian", "می\u{200c}خواهم خانه\u{200c}ها"),
    ("Arabic with vowels", "بِسْمِ ٱللَّٰهِ ٱلرَّحْمَٰنِ ٱلرَّحِيمِ"),
    ("Kurdish", "ه\u{200d} کوردی"),
    ("Hebrew with cantillation", "בְּרֵאשִׁ֖ית בָּרָ֣א אֱלֹהִ֑ים אֵ֥ת הַשָּׁמַ֖יִם"),
    ("Thai", "น้ำใจ ที่นี่ กำลัง"),
    ("Lao", "ນໍ້າ ຊື່"),
    ("Khmer", "ព្រះរាជា\u{200b}ណាចក្រ"),
    ("Burmese", "ကျွန်ုပ်တို့ လျှော့ မြွှော်"),
    ("Tibetan", "བསྒྲུབས་ ཧཱུྃ༔ ཧྐྵྨླྺྲྻཾ"),
    (
        "Vietnamese, decomposed",
        "Vie\u{323}\u{302}t Nam nhu\u{31b}\u{303}ng",
    ),
    ("Greek, decomposed", "α\u{313}\u{301}\u{345}"),
    ("phonetics", "ã̰ˑn t͡ʃ ɔ̃́ː"),
    (
        "Japanese with variants",
        "葛\u{e0100}城市と葛󠄁飾区 か\u{3099}",
    ),
    ("Mongolian", "ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ\u{180b} ᠤᠯᠤᠰ\u{180e}ᠠ"),
    ("Korean", "안녕하세요 ᄒᆞᆫ글"),
    ("Urdu", "اُردُو ہے"),
    ("Yoruba", "Ẹ̀kọ́ ọ̀rẹ́"),
    ("shrug", "¯\\_(ツ)_/¯ ( ͡° ͜ʖ ͡°)"),
];

#[test]
fn real_texts_stay_whole() {
    for (language, text) in REAL {
        assert_eq!(
            cleaned(text).as_deref(),
            Ok(text),
            "{language}: {}",
            escaped(text)
        );
        // A title in NFC is unchanged, except for invisible characters between and after words.
        let composed: String = text
            .replace(['\u{200b}', '\u{180e}'], "")
            .replace("\u{200d} ", " ")
            .nfc()
            .collect();
        assert_eq!(title(text).as_deref(), Ok(&*composed), "{language}");
    }
}

#[test]
fn names_and_titles_are_one_line_in_nfc() {
    assert_eq!(name("  Zoe\u{308} \n\u{3000} L. ").as_deref(), Ok("Zoë L."));
    assert_eq!(name("a\u{e000}b\u{2800}").as_deref(), Ok("a b"));
    assert_eq!(name(&"x".repeat(65)), Err(TextError::TooLong));
    assert_eq!(title(&"🎈".repeat(200)).as_deref(), Ok(&*"🎈".repeat(200)));
    assert_eq!(title(&"🎈".repeat(201)), Err(TextError::TooLong));
    assert_eq!(
        description(&"a\n".repeat(2_400))
            .expect("a text")
            .lines()
            .count(),
        DESCRIPTION_LINES_MAX
    );
    assert_eq!(description(&"a".repeat(5_001)), Err(TextError::TooLong));
}

#[test]
fn a_tokens_name_is_cleaned_and_cut_and_never_missing() {
    assert_eq!(shown_name(Some(" \u{202e}Ann\u{0} "), "u-1"), "Ann");
    assert_eq!(shown_name(Some("\u{202e}\u{200b}"), "u-1"), "u-1");
    assert_eq!(shown_name(None, "u-1"), "u-1");
    assert_eq!(shown_name(Some(""), "\u{200b}"), NAMELESS);
    assert_eq!(shown_name(Some(&"x".repeat(99)), "u"), "x".repeat(64));
    // Not cut within a cluster.
    let family = "👨\u{200d}👩\u{200d}👧";
    let name = format!("{}{family}", "x".repeat(61));
    assert_eq!(shown_name(Some(&name), "u"), "x".repeat(61));
    let flags = format!("{}🇺🇦🇺🇦", "x".repeat(61));
    assert_eq!(
        shown_name(Some(&flags), "u"),
        format!("{}🇺🇦", "x".repeat(61))
    );
    let accents = format!("{}q\u{301}\u{302}", "x".repeat(62));
    assert_eq!(shown_name(Some(&accents), "u"), "x".repeat(62));
}

#[test]
fn texts_are_trimmed_and_counted_in_scalar_values() {
    assert_eq!(cleaned("  hi \n").as_deref(), Ok("hi"));
    assert!(cleaned(&"🎈".repeat(500)).is_ok());
    assert_eq!(cleaned(&"🎈".repeat(501)), Err(TextError::TooLong));
    assert_eq!(cleaned(&"x".repeat(501)), Err(TextError::TooLong));
    // Removed characters do not count.
    assert!(cleaned(&format!("{}{}", "\u{200b}".repeat(300), "❤️".repeat(250))).is_ok());
}

#[test]
fn every_character_is_seen_at_every_place() {
    let all = ('\0'..='\u{1000}').chain("🎈\u{fffd}\u{10ffff}".chars());
    for c in all {
        for before in 0..9 {
            let text = format!("{}{c}é{}", "x".repeat(before), "y".repeat(9 - before));
            let looked = look(&text);
            assert!(!looked.ascii, "{text:?}");
            assert_eq!(looked.chars, 11, "{text:?}");
        }
    }
    let looked = look("plain text of more than a word");
    assert_eq!((looked.chars, looked.ascii), (30, true));
    for c in ('\0'..' ').chain(['\u{7f}']) {
        for before in 0..9 {
            assert!(
                !look(&format!("{}{c}aaaaaaaaa", "x".repeat(before))).ascii,
                "{c:?}"
            );
        }
    }
}
