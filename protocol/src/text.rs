//! Cleaning of texts that users write: the rules for comments, names, titles and descriptions, wherever they enter.
//!
//! | | comment, description | name, title |
//! | --- | --- | --- |
//! | nothing visible (blanks, default-ignorable, unassigned, private-use, blank letters, lone marks) | `Empty` | `Empty` |
//! | control characters | refused | refused in a title, removed from a name |
//! | line ends (CR, VT, FF, NEL, U+2028, U+2029) | newline; at most two in a row, lines bounded | blank |
//! | embeddings, overrides, isolates | removed | removed |
//! | LRM, RLM, ALM | kept | removed |
//! | marks | bounded for each base | bounded for each base |
//! | joiners, variation selectors, tags | kept where emoji and scripts use them | the same |
//! | other invisible characters | removed | removed |
//! | normalisation | none | NFC, blanks collapsed |
//!
//! Source: Unicode 16 character properties, UAX #9 (bidi controls), UTS #51 (emoji sequences), UAX #31 (names).
//!
//! **Invariant**: cleaning a cleaned text changes nothing; printable ASCII is only trimmed.

mod class;
mod clean;
mod mention;
mod table;

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::codes::Reason;
use class::{Class, class, is_regional};
use clean::{Rules, clean};
pub use mention::{mentions, name_key};

/// Unicode scalar values of a name, at most.
pub const NAME_CHARS_MAX: usize = 64;
/// Unicode scalar values of a stream's title, at most.
pub const TITLE_CHARS_MAX: usize = 200;
/// Unicode scalar values of a stream's description, at most.
pub const DESCRIPTION_CHARS_MAX: usize = 5_000;
/// Lines of a comment, including empty ones; further lines are joined to the last.
pub const COMMENT_LINES_MAX: usize = 12;
/// Lines of a description; further lines are joined to the last.
pub const DESCRIPTION_LINES_MAX: usize = 200;
/// Rounds of cleaning and normalising a name until neither changes it, at most; two rounds suffice for all known texts.
const ROUNDS_MAX: usize = 4;
/// The displayed name of a user whose token has nothing visible in `name` and `sub`.
const NAMELESS: &str = "viewer";

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing visible is left.
    #[error("nothing that can be seen is in it")]
    Empty,
    /// More Unicode scalar values than allowed.
    #[error("it is too long")]
    TooLong,
    /// A control character other than a line end or a tab.
    #[error("it has a control character")]
    Control,
}

impl TextError {
    /// The reason for a `rejected` receipt.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::Empty => Reason::Empty,
            Self::TooLong => Reason::TooLong,
            Self::Control => Reason::Invalid,
        }
    }
}

/// Cleans a comment: 1 to `chars_max` Unicode scalar values after cleaning. Printable ASCII is only trimmed.
///
/// # Errors
/// Why it is refused.
pub fn comment(text: &str, chars_max: u32) -> Result<Cow<'_, str>, TextError> {
    let rules = Rules {
        lines_max: COMMENT_LINES_MAX,
        controls_refused: true,
    };
    several_lines(text, chars_max as usize, &rules)
}

/// Cleans a stream's description, up to [`DESCRIPTION_CHARS_MAX`] Unicode scalar values; without anything visible it becomes
/// the empty text.
///
/// # Errors
/// Why it is refused.
pub fn description(text: &str) -> Result<Cow<'_, str>, TextError> {
    let rules = Rules {
        lines_max: DESCRIPTION_LINES_MAX,
        controls_refused: true,
    };
    match several_lines(text, DESCRIPTION_CHARS_MAX, &rules) {
        Err(TextError::Empty) => Ok(Cow::Borrowed("")),
        other => other,
    }
}

/// Cleans a stream's title: one line, NFC, 1 to [`TITLE_CHARS_MAX`] Unicode scalar values after cleaning.
///
/// # Errors
/// Why it is refused.
pub fn title(text: &str) -> Result<Cow<'_, str>, TextError> {
    let title = one_line(text, true)?;
    within(title, TITLE_CHARS_MAX)
}

/// Cleans a user's name: one line, NFC, 1 to [`NAME_CHARS_MAX`] Unicode scalar values after cleaning. Control characters are
/// removed.
///
/// # Errors
/// [`TextError::Empty`] and [`TextError::TooLong`].
pub fn name(text: &str) -> Result<Cow<'_, str>, TextError> {
    let name = one_line(text, false)?;
    within(name, NAME_CHARS_MAX)
}

/// The displayed name of a token's bearer. It is cleaned and cut, never refused, because the bearer did not write the token.
/// If `name` has nothing visible, it is the user's id; if that has neither, it is `viewer`.
#[must_use]
pub fn shown_name(name: Option<&str>, user: &str) -> String {
    let shown = |text| {
        let whole = one_line(text, false).ok()?;
        let cut = cut(&whole, NAME_CHARS_MAX);
        // Cutting may leave a blank or a joiner at the end.
        one_line(cut, false).map(Cow::into_owned).ok()
    };
    name.and_then(shown)
        .or_else(|| one_line(user, false).map(Cow::into_owned).ok())
        .unwrap_or_else(|| NAMELESS.to_owned())
}

fn within(text: Cow<'_, str>, chars_max: usize) -> Result<Cow<'_, str>, TextError> {
    if text.chars().nth(chars_max).is_some() {
        return Err(TextError::TooLong);
    }
    Ok(text)
}

fn several_lines<'a>(
    text: &'a str,
    chars_max: usize,
    rules: &Rules,
) -> Result<Cow<'a, str>, TextError> {
    let text = text.trim();
    let looked = look(text);
    if looked.ascii || !text.chars().any(needs_work) {
        return match looked.chars {
            0 => Err(TextError::Empty),
            chars if chars > chars_max => Err(TextError::TooLong),
            _ => Ok(Cow::Borrowed(text)),
        };
    }
    within(Cow::Owned(clean(text, rules)?), chars_max)
}

/// Whether a character is removed or replaced, at least in some contexts.
fn needs_work(c: char) -> bool {
    !matches!(c, ' '..='~') && !matches!(class(c), Class::Plain | Class::Emoji)
}

/// Cleans a text of one line; the result is in NFC.
fn one_line(text: &str, controls_refused: bool) -> Result<Cow<'_, str>, TextError> {
    let text = text.trim();
    if !text.is_empty() && look(text).ascii && !text.contains("  ") {
        return Ok(Cow::Borrowed(text));
    }
    let rules = Rules {
        lines_max: 1,
        controls_refused,
    };
    let mut text = Cow::Borrowed(text);
    for _ in 0..ROUNDS_MAX {
        // Normalised before cleaning, so that the parts of composed characters are classified, and after it, because a
        // removed character may have separated characters that compose.
        let cleaned = clean(&nfc(&text), &rules)?;
        let next = nfc(&cleaned).into_owned();
        if next == text {
            break;
        }
        text = Cow::Owned(next);
    }
    Ok(text)
}

fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

/// The first `chars_max` characters; a cluster at the end that would be cut is left out.
fn cut(text: &str, chars_max: usize) -> &str {
    let Some((end, _)) = text.char_indices().nth(chars_max) else {
        return text;
    };
    let mut at = end;
    while let Some(last) = text[..at].chars().next_back() {
        if !is_within(&text[..at], &text[at..]) {
            return &text[..at];
        }
        at -= last.len_utf8();
    }
    &text[..end]
}

/// Whether the end of `before` and the beginning of `after` are one cluster: marks, emoji sequences, flags.
fn is_within(before: &str, after: &str) -> bool {
    let next = after.chars().next().unwrap_or(' ');
    let goes_on = matches!(class(next), Class::Mark | Class::Hidden) || clean::is_modifier(next);
    let joined = before.ends_with('\u{200d}');
    let letters = before.chars().rev().take_while(|&c| is_regional(c)).count();
    goes_on || joined || is_regional(next) && letters % 2 == 1
}

struct Look {
    /// Number of Unicode scalar values.
    chars: usize,
    /// All characters are printable ASCII.
    ascii: bool,
}

/// Scans a text, eight bytes at a time, to find out whether it is printable ASCII and needs no further work.
fn look(text: &str) -> Look {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let below = |word: u64, byte: u8| word.wrapping_sub(all(byte)) & !word & all(0x80);
    let (words, remainder) = text.as_bytes().as_chunks::<8>();
    let mut following = 0;
    let mut other = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        following += (word & !(word << 1) & all(0x80)).count_ones() as usize;
        // The borrow of a byte below the bound may mark the next byte too; then the text is only scanned more closely.
        other |= below(word, 0x20) | below(word ^ all(0x7f), 1) | word & all(0x80);
    }
    for &byte in remainder {
        following += usize::from(byte & 0xc0 == 0x80);
        other |= u64::from(!matches!(byte, b' '..=b'~'));
    }
    Look {
        chars: text.len() - following,
        ascii: other == 0,
    }
}

#[cfg(test)]
mod tests;
