//! What people write, made fit to be shown to others: the one set of rules for comments, names, titles and
//! descriptions, on every way in.
//!
//! | | comment, description | name, title |
//! | --- | --- | --- |
//! | nothing to be seen (blanks, default-ignorable, unassigned, private-use, blank letters, lone marks) | `Empty` | `Empty` |
//! | control characters | refused | a title refused, a name without them |
//! | line ends (CR, VT, FF, NEL, U+2028, U+2029) | newline; two in a row at the most, lines bounded | blank |
//! | embeddings, overrides, isolates | taken out | taken out |
//! | LRM, RLM, ALM | kept | taken out |
//! | marks | bounded by base | bounded by base |
//! | joiners, variation selectors, tags | kept where emoji and scripts use them | the same |
//! | other invisible characters | taken out | taken out |
//! | normalisation | none | NFC, blanks collapsed |
//!
//! Source: Unicode 16 character properties, UAX #9 (bidi controls), UTS #51 (emoji sequences), UAX #31 (names).
//!
//! **Invariant**: what was cleaned is not changed by a second cleaning, and printable ASCII stays as it is.

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

/// Unicode scalar values of a name.
pub const NAME_CHARS_MAX: usize = 64;
/// Unicode scalar values of a stream's title.
pub const TITLE_CHARS_MAX: usize = 200;
/// Unicode scalar values of a stream's description.
pub const DESCRIPTION_CHARS_MAX: usize = 5_000;
/// Lines of a comment, empty ones among them; further ones go on in the last.
pub const COMMENT_LINES_MAX: usize = 12;
/// Lines of a description.
pub const DESCRIPTION_LINES_MAX: usize = 200;
/// How often a name is cleaned and normalised until neither changes it; two rounds settle all that is known.
const ROUNDS_MAX: usize = 4;
/// The name of a user whose token has no visible one, in `name` or `sub`.
const NAMELESS: &str = "viewer";

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing that can be seen is left.
    #[error("nothing that can be seen is in it")]
    Empty,
    /// More Unicode scalar values than allowed.
    #[error("it is too long")]
    TooLong,
    /// A control character that is no line end and no tab.
    #[error("it has a control character")]
    Control,
}

impl TextError {
    /// The reason that a `rejected` receipt gives.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::Empty => Reason::Empty,
            Self::TooLong => Reason::TooLong,
            Self::Control => Reason::Invalid,
        }
    }
}

/// A comment: 1 to `chars_max` Unicode scalar values once cleaned. Printable ASCII is returned as it lies, trimmed.
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

/// A stream's description, up to [`DESCRIPTION_CHARS_MAX`] Unicode scalar values; nothing visible is the empty text.
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

/// A stream's title: one line, NFC, 1 to [`TITLE_CHARS_MAX`] Unicode scalar values once cleaned.
///
/// # Errors
/// Why it is refused.
pub fn title(text: &str) -> Result<Cow<'_, str>, TextError> {
    let title = one_line(text, true)?;
    within(title, TITLE_CHARS_MAX)
}

/// A user's name: one line, NFC, 1 to [`NAME_CHARS_MAX`] Unicode scalar values once cleaned. Control characters are
/// taken out.
///
/// # Errors
/// [`TextError::Empty`] and [`TextError::TooLong`].
pub fn name(text: &str) -> Result<Cow<'_, str>, TextError> {
    let name = one_line(text, false)?;
    within(name, NAME_CHARS_MAX)
}

/// The name that a token gives its bearer: cleaned and cut rather than refused, since its bearer did not write the
/// token. Without a visible `name` it is the user's id, and without a visible id a word that says so.
#[must_use]
pub fn shown_name(name: Option<&str>, user: &str) -> String {
    let shown = |text| {
        let whole = one_line(text, false).ok()?;
        let cut = cut(&whole, NAME_CHARS_MAX);
        // The cut may leave a blank or a joiner at the end.
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

/// Whether a character may have to go, or goes only in some places.
fn needs_work(c: char) -> bool {
    !matches!(c, ' '..='~') && !matches!(class(c), Class::Plain | Class::Emoji)
}

/// Cleaned and in NFC.
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
        // First, so that what composed characters hide is seen; after, since what is taken out may have kept apart
        // what composes.
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

/// The first `chars_max` characters, without half of a cluster at the end.
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

/// Whether what is before and what is after are parts of one cluster: marks, emoji sequences, flags.
fn is_within(before: &str, after: &str) -> bool {
    let next = after.chars().next().unwrap_or(' ');
    let goes_on = matches!(class(next), Class::Mark | Class::Hidden) || clean::is_modifier(next);
    let joined = before.ends_with('\u{200d}');
    let letters = before.chars().rev().take_while(|&c| is_regional(c)).count();
    goes_on || joined || is_regional(next) && letters % 2 == 1
}

struct Look {
    /// Unicode scalar values.
    chars: usize,
    /// Nothing but printable ASCII.
    ascii: bool,
}

/// Eight bytes at a time: one look that tells most texts apart from those that need work.
fn look(text: &str) -> Look {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let below = |word: u64, byte: u8| word.wrapping_sub(all(byte)) & !word & all(0x80);
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let mut following = 0;
    let mut other = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        following += (word & !(word << 1) & all(0x80)).count_ones() as usize;
        // A byte beyond one that fits may seem to fit too: the text is then looked at more closely.
        other |= below(word, 0x20) | below(word ^ all(0x7f), 1) | word & all(0x80);
    }
    for &byte in rest {
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
