//! Mentions in a text: `@name`.

use std::borrow::Cow;

use super::class::{Class, class, is_ideograph, joins};
use super::{NAME_CHARS_MAX, nfc};

/// Mentions found in one text, at most; further ones are plain text.
const MENTIONS_MAX: usize = 10;

/// The mentioned names in order, in NFC and without the `@`. A name that differs from an earlier one only in normalisation
/// or case is left out.
///
/// A name continues as UAX #31 defines (letters, marks, digits, connectors, joiners where a script uses them), and with `-`.
/// A name of more than [`NAME_CHARS_MAX`] Unicode scalar values is plain text.
#[must_use]
pub fn mentions(text: &str) -> Vec<Cow<'_, str>> {
    let mut found: Vec<Cow<'_, str>> = Vec::new();
    let mut keys: Vec<String> = Vec::new();
    for (at, _) in text.match_indices('@') {
        // An `@` within a word is no mention but, for example, a mail address.
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| goes_on(c, None, None)) {
            continue;
        }
        let mut name = nfc(name_at_start(&text[at + 1..]));
        if let Cow::Owned(composed) = &mut name {
            // NFC may reorder marks, after which a joiner between them is no part of the name any more.
            composed.truncate(name_at_start(composed).len());
        }
        if name.is_empty() || name.chars().nth(NAME_CHARS_MAX).is_some() {
            continue;
        }
        let key = name_key(&name);
        if keys.contains(&key) {
            continue;
        }
        keys.push(key);
        found.push(name);
        if found.len() == MENTIONS_MAX {
            break;
        }
    }
    found
}

/// The key by which names are compared: NFC and case-folded.
#[must_use]
pub fn name_key(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let folded: String = nfc(name).chars().flat_map(fold).collect();
    nfc(&folded).into_owned()
}

/// Full case folding through the uppercase form: `ß` becomes `ss`, both lowercase sigmas become one.
fn fold(c: char) -> impl Iterator<Item = char> {
    // The dotless `ı` must not become `i`, although its uppercase form is `I`.
    let (kept, other) = if c == 'ı' {
        (Some(c), None)
    } else {
        (None, Some(c))
    };
    // Lowercase first, because the uppercase form of `ẞ` is `ẞ` itself and not `SS`.
    let small = other.into_iter().flat_map(char::to_lowercase);
    let capital = small.flat_map(char::to_uppercase);
    kept.into_iter().chain(capital.flat_map(char::to_lowercase))
}

fn name_at_start(text: &str) -> &str {
    let mut chars = text.char_indices().peekable();
    let mut before = None;
    while let Some((at, c)) = chars.next() {
        let first = before.is_none();
        let next = chars.peek().map(|&(_, c)| c);
        if first && !is_start(c) || !first && !goes_on(c, before, next) {
            return &text[..at];
        }
        before = Some(c);
    }
    text
}

fn is_start(c: char) -> bool {
    (c.is_alphanumeric() || c == '_' || c == '-') && class(c) != Class::Mark
}

/// Whether a character continues a name; some do only between certain characters, so `before` and `next` are checked.
fn goes_on(c: char, before: Option<char>, next: Option<char>) -> bool {
    match c {
        '\u{200c}' | '\u{200d}' => before.is_some_and(joins) && next.is_some_and(joins),
        '\u{e0100}'..='\u{e01ef}' => before.is_some_and(is_ideograph),
        // Enclosing marks.
        '\u{488}'
        | '\u{489}'
        | '\u{1abe}'
        | '\u{20dd}'..='\u{20e0}'
        | '\u{20e2}'..='\u{20e4}'
        | '\u{a670}'..='\u{a672}' => false,
        // Connectors and the dots within words of UAX #31.
        '\u{b7}'
        | '\u{387}'
        | '\u{203f}'
        | '\u{2040}'
        | '\u{2054}'
        | '\u{2118}'
        | '\u{212e}'
        | '\u{309b}'
        | '\u{309c}'
        | '\u{30fb}'
        | '\u{ff65}'
        | '\u{fe33}'
        | '\u{fe34}'
        | '\u{fe4d}'..='\u{fe4f}'
        | '\u{ff3f}' => true,
        _ => is_start(c) || class(c) == Class::Mark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_are_names_after_an_at_sign_that_begins_a_word() {
        assert_eq!(
            mentions("@ann, hi @Zoë_1! mail a@b.c @ann @"),
            ["ann", "Zoë_1"]
        );
        assert_eq!(mentions(&"@a".repeat(50)), ["a"]);
        let many: String = (0..50).map(|i| format!("@u{i} ")).collect();
        assert_eq!(mentions(&many).len(), MENTIONS_MAX);
        assert!(mentions(&format!("@{}", "x".repeat(65))).is_empty());
        assert_eq!(mentions(&format!("@{}", "x".repeat(64))).len(), 1);
        assert_eq!(mentions("(@a-b) @@c @\u{301}"), ["a-b", "c"]);
    }

    #[test]
    fn a_mention_is_not_cut_at_a_mark_or_a_joiner() {
        assert_eq!(mentions("@कृष्ण!"), ["कृष्ण"]);
        // A virama with a joiner (Bengali, Sinhala); a non-joiner (Persian).
        for name in [
            "ক্ষ\u{200d}",
            "শ্রী",
            "ශ්\u{200d}රී",
            "می\u{200c}خواهم",
            "ภูมิ",
            "ਸਿੰਘ",
            "மாறன்",
        ] {
            let text = format!("hi @{name} there");
            let whole = name.trim_end_matches('\u{200d}');
            assert_eq!(mentions(&text), [whole], "{name}");
        }
        assert_eq!(
            mentions("@葛\u{e0100}飾 @Paral·lel @a\u{200d}b"),
            ["葛\u{e0100}飾", "Paral·lel", "a"]
        );
        // An emoji's selector does not belong to the name.
        assert_eq!(
            mentions("@ann\u{fe0f} @bob\u{2764}\u{fe0f}"),
            ["ann", "bob"]
        );
    }

    #[test]
    fn names_are_compared_composed_and_case_folded() {
        assert_eq!(mentions("@Zoe\u{308} @zoë @ZOË @Zoe"), ["Zoë", "Zoe"]);
        assert_eq!(
            mentions("@Straße @STRASSE @ΣΊΣΥΦΟΣ @σίσυφος"),
            ["Straße", "ΣΊΣΥΦΟΣ"]
        );
        assert_eq!(mentions("@Ann @ann @ANN"), ["Ann"]);
        assert_ne!(name_key("ılgaz"), name_key("ilgaz"));
    }

    #[test]
    fn names_go_on_as_uax_31_says() {
        let hir = regex_syntax::parse(r"[\p{XID_Continue}--\p{Default_Ignorable_Code_Point}]");
        let hir = hir.expect("a class of Unicode");
        let regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(set)) = hir.kind()
        else {
            panic!("not a set");
        };
        for range in set.ranges() {
            for c in range.start()..=range.end() {
                assert!(
                    goes_on(c, Some('a'), Some('a')),
                    "{c:?} U+{:04X}",
                    u32::from(c)
                );
            }
        }
    }

    #[test]
    fn characters_that_differ_in_case_alone_fold_to_the_same() {
        use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, HirKind};
        for c in '\0'..=char::MAX {
            let mut same = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
            same.try_case_fold_simple().expect("folds");
            let hir = regex_syntax::hir::Hir::class(Class::Unicode(same.clone()));
            if matches!(hir.kind(), HirKind::Literal(_)) {
                continue;
            }
            let key = name_key(&c.to_string());
            for range in same.ranges() {
                for other in range.start()..=range.end() {
                    assert_eq!(name_key(&other.to_string()), key, "{c:?} and {other:?}");
                }
            }
        }
    }
}
