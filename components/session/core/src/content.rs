//! What a comment's text may be.

use std::borrow::Cow;

/// Usernames taken from one comment at the most; the others are just text.
const MENTIONS_MAX: usize = 10;
/// Characters of a mentioned username at the most; a longer one is just text.
const MENTION_CHARS_MAX: usize = 64;

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Nothing is left after trimming.
    #[error("empty")]
    Empty,
    /// More Unicode scalar values than allowed.
    #[error("too_long")]
    TooLong,
    /// A control character that is none of newline, return and tab.
    #[error("invalid")]
    Control,
}

/// Trims a text and checks it: 1 to `chars_max` Unicode scalar values, no control character but the newline (a
/// tab becomes a blank, a return and newline a newline).
///
/// # Errors
/// What is wrong with it.
pub fn check_content(text: &str, chars_max: u32) -> Result<String, ContentError> {
    checked(text, chars_max).map(Cow::into_owned)
}

/// [`check_content`] without a copy where nothing is to be changed.
pub(crate) fn checked(text: &str, chars_max: u32) -> Result<Cow<'_, str>, ContentError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ContentError::Empty);
    }
    let (mut chars, plain) = look(text);
    let plain = plain || !text.chars().any(char::is_control);
    let text = if plain {
        Cow::Borrowed(text)
    } else {
        let text = text.replace("\r\n", "\n").replace('\t', " ");
        chars = text.chars().count() as u64;
        Cow::Owned(text)
    };
    if chars > u64::from(chars_max) {
        return Err(ContentError::TooLong);
    }
    if !plain && text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(ContentError::Control);
    }
    Ok(text)
}

/// How many characters a text has, and whether it has no byte that is, or that may begin, a control character: one
/// look that tells most texts apart from those that need work.
fn look(text: &str) -> (u64, bool) {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let below = |word: u64, byte: u8| word.wrapping_sub(all(byte)) & !word & all(0x80);
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let mut following = 0;
    let mut control = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        following += u64::from((word & !(word << 1) & all(0x80)).count_ones());
        // 0xc2 begins U+0080 to U+00BF. Where one fits, its neighbours may seem to: they are looked at more closely.
        control |= below(word, 0x20) | below(word ^ all(0x7f), 1) | below(word ^ all(0xc2), 1);
    }
    for &byte in rest {
        following += u64::from(byte & 0xc0 == 0x80);
        control |= u64::from(byte < 0x20 || byte == 0x7f || byte == 0xc2);
    }
    (text.len() as u64 - following, control == 0)
}

/// The usernames a text mentions (`@name`), each once, in order.
#[must_use]
pub fn mentions(text: &str) -> Vec<String> {
    mentioned(text).into_iter().map(str::to_owned).collect()
}

/// [`mentions`] without a copy.
pub(crate) fn mentioned(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    if !text.contains('@') {
        return found;
    }
    let mut before = ' ';
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '@' && !is_name(before) {
            let len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            let name = &rest[..len];
            if !name.is_empty()
                && name.chars().count() <= MENTION_CHARS_MAX
                && !found.contains(&name)
            {
                found.push(name);
                if found.len() == MENTIONS_MAX {
                    break;
                }
            }
        }
        before = c;
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_trimmed_and_counted_in_scalar_values() {
        assert_eq!(check_content("  hi \n", 500).as_deref(), Ok("hi"));
        assert_eq!(check_content(" \u{3000}\t ", 500), Err(ContentError::Empty));
        assert!(check_content(&"🎈".repeat(500), 500).is_ok());
        assert_eq!(
            check_content(&"🎈".repeat(501), 500),
            Err(ContentError::TooLong)
        );
        assert_eq!(check_content("a\u{0}b", 500), Err(ContentError::Control));
        assert_eq!(check_content("a\u{85}b", 500), Err(ContentError::Control));
        assert_eq!(check_content("a\r\nb\tc", 500).as_deref(), Ok("a\nb c"));
    }

    #[test]
    fn every_character_is_seen_at_every_place() {
        let all = ('\0'..='\u{1000}').chain("🎈\u{fffd}\u{10ffff}".chars());
        for c in all {
            for before in 0..9 {
                let text = format!("{}{c}é{}", "x".repeat(before), "y".repeat(9 - before));
                let (chars, plain) = look(&text);
                assert_eq!(chars, 11, "{text:?}");
                assert!(!plain || !c.is_control(), "{text:?}");
            }
        }
        assert_eq!(look("plain text of more than a word"), (30, true));
    }

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
    }
}
