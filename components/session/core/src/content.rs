//! What a comment's text may be.

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
    let text = text.trim();
    if text.is_empty() {
        return Err(ContentError::Empty);
    }
    // One look at each character tells most texts apart from those that need work.
    let mut chars = 0_u64;
    let mut plain = true;
    for c in text.chars() {
        chars += 1;
        plain &= !c.is_control();
    }
    let text = if plain {
        text.to_owned()
    } else {
        let text = text.replace("\r\n", "\n").replace('\t', " ");
        chars = text.chars().count() as u64;
        text
    };
    if chars > u64::from(chars_max) {
        return Err(ContentError::TooLong);
    }
    if !plain && text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(ContentError::Control);
    }
    Ok(text)
}

/// The usernames a text mentions (`@name`), each once, in order.
#[must_use]
pub fn mentions(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
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
                && !found.iter().any(|known| known == name)
            {
                found.push(name.to_owned());
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
