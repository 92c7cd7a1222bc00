//! Cleans a text in one pass: keeps visible characters, and invisible ones where they have an effect, within bounds.
//!
//! Whether a character is kept depends on the characters kept before it and, for joiners, on the next one.

use std::str::Chars;

use super::TextError;
use super::class::{Class, class, is_ideograph, is_unspaced, joins};

/// The rules that differ between kinds of texts.
pub(super) struct Rules {
    /// Lines, at most. With 1 the text is a name or a title, for which rules are stricter.
    pub(super) lines_max: usize,
    /// Whether a text with a control character is refused; otherwise the character is removed.
    pub(super) controls_refused: bool,
}

/// Zero-width joiner: joins emoji, and letters in some scripts.
const ZWJ: char = '\u{200d}';
/// Zero-width non-joiner: prevents letters from joining.
const ZWNJ: char = '\u{200c}';
/// The flag that tags may follow, for example for the flag of England.
const BLACK_FLAG: char = '\u{1f3f4}';
/// Ends a sequence of tags.
const CANCEL_TAG: char = '\u{e007f}';
/// Number of tags in a subdivision's flag, such as `gbeng` or `usca`.
const TAGS: std::ops::RangeInclusive<usize> = 3..=6;
/// Newlines in a row, at most: one empty line.
const NEWLINES_MAX: usize = 2;

/// Groups of marks; each has a maximum for one base character.
#[derive(Clone, Copy)]
enum Marks {
    /// Marks for any script: accents, enclosing marks. Vietnamese and polytonic Greek need at most 3, phonetics 4.
    Any = 0,
    /// Thai and Lao: a vowel, a tone and one other sign.
    Thai = 1,
    /// Tibetan stacks and Myanmar syllables, written with marks alone.
    Stacked = 2,
    /// All other scripts: Hebrew with points and cantillation, Quranic Arabic, Vedic.
    Script = 3,
}

impl Marks {
    const COUNT: usize = 4;

    fn of(c: char) -> Self {
        match c {
            '\u{300}'..='\u{36f}'
            | '\u{483}'..='\u{489}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{3000}'..='\u{30ff}'
            | '\u{a66f}'..='\u{a69f}'
            | '\u{fe20}'..='\u{fe2f}'
            | '\u{1d000}'..='\u{1ffff}' => Self::Any,
            '\u{e00}'..='\u{eff}' => Self::Thai,
            '\u{f00}'..='\u{109f}' | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}' => {
                Self::Stacked
            }
            _ => Self::Script,
        }
    }

    fn max(self) -> u8 {
        match self {
            Self::Any => 4,
            Self::Thai => 3,
            Self::Stacked => 10,
            Self::Script => 6,
        }
    }
}

/// Whether it is a skin tone, which may follow an emoji.
pub(super) fn is_modifier(c: char) -> bool {
    matches!(c, '\u{1f3fb}'..='\u{1f3ff}')
}

/// Cleans a text.
///
/// # Errors
/// [`TextError::Empty`] when nothing visible is left, [`TextError::Control`] for a control character that the rules refuse.
pub(super) fn clean(text: &str, rules: &Rules) -> Result<String, TextError> {
    let mut cleaner = Cleaner {
        rules,
        out: String::with_capacity(text.len()),
        last: None,
        emoji: false,
        marks: [0; Marks::COUNT],
        line: 0,
        line_is_seen: false,
        seen: false,
        newlines: 0,
    };
    let mut following = text.chars();
    while let Some(c) = following.next() {
        cleaner.add(c, &mut following)?;
    }
    cleaner.end()
}

struct Cleaner<'a> {
    rules: &'a Rules,
    out: String,
    /// The last character kept in this line.
    last: Option<char>,
    /// The last characters kept are an emoji with its selector or skin tone, to which another may be joined.
    emoji: bool,
    /// Marks on the last base, by group.
    marks: [u8; Marks::COUNT],
    /// Byte offset in `out` at which the line begins.
    line: usize,
    line_is_seen: bool,
    seen: bool,
    newlines: usize,
}

impl Cleaner<'_> {
    fn add(&mut self, c: char, following: &mut Chars<'_>) -> Result<(), TextError> {
        match c {
            '\r' if following.as_str().starts_with('\n') => {}
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => self.newline(),
            ' ' | '\t' => self.space(' '),
            '!'..='~' => self.base(c, false),
            ZWJ | ZWNJ => self.joiner(c, following.as_str()),
            '\u{fe00}'..='\u{fe0f}'
            | '\u{e0100}'..='\u{e01ef}'
            | '\u{180b}'..='\u{180d}'
            | '\u{180f}' => {
                self.selector(c);
            }
            '\u{200e}' | '\u{200f}' | '\u{61c}' => self.direction(c),
            '\u{200b}' | '\u{180e}' => self.separator(c, following.as_str()),
            '\u{e0020}'..='\u{e007e}' => self.tags(c, following),
            _ if c.is_control() => {
                if self.rules.controls_refused {
                    return Err(TextError::Control);
                }
            }
            _ => match class(c) {
                Class::Plain => self.base(c, self.emoji && is_modifier(c)),
                Class::Emoji => self.base(c, true),
                Class::Mark => self.mark(c),
                Class::Space => self.space(c),
                Class::Hidden => {}
                Class::Blank if self.is_strict() => self.space(' '),
                Class::Blank => self.push(c),
            },
        }
        Ok(())
    }

    fn is_strict(&self) -> bool {
        self.rules.lines_max == 1
    }

    /// Keeps a character that starts a new cluster.
    fn push(&mut self, c: char) {
        self.keep(c);
        self.emoji = false;
        self.marks = [0; Marks::COUNT];
    }

    /// Keeps a character that belongs to the current cluster.
    fn keep(&mut self, c: char) {
        self.out.push(c);
        self.last = Some(c);
    }

    fn base(&mut self, c: char, emoji: bool) {
        self.push(c);
        self.emoji = emoji;
        self.line_is_seen = true;
        self.seen = true;
    }

    fn mark(&mut self, c: char) {
        if self.is_strict() && self.last.is_none() {
            return;
        }
        let marks = Marks::of(c);
        let count = &mut self.marks[marks as usize];
        if *count < marks.max() {
            *count += 1;
            self.emoji = false;
            self.keep(c);
        }
    }

    fn space(&mut self, c: char) {
        if self.is_strict() {
            if !matches!(self.last, None | Some(' ')) {
                self.push(' ');
            }
        } else if !self.out.is_empty() {
            self.push(c);
        }
    }

    fn newline(&mut self) {
        if self.is_strict() {
            return self.space(' ');
        }
        self.end_line();
        if self.out.is_empty() {
            return;
        }
        if self.newlines + 1 >= self.rules.lines_max {
            // Further lines are joined to the last one.
            if self.line_is_seen {
                self.push(' ');
            }
            return;
        }
        let row = self.out.bytes().rev().take_while(|&b| b == b'\n').count();
        if row < NEWLINES_MAX {
            self.out.push('\n');
            self.newlines += 1;
        }
        self.begin_line();
    }

    fn begin_line(&mut self) {
        self.line = self.out.len();
        self.line_is_seen = false;
        self.last = None;
        self.emoji = false;
        self.marks = [0; Marks::COUNT];
    }

    /// Ends a line: removes blanks at its end, or the whole line if nothing in it is visible.
    fn end_line(&mut self) {
        let end = if self.line_is_seen {
            self.out.trim_end().len()
        } else {
            self.line
        };
        self.out.truncate(end);
        self.last = self.out[self.line.min(end)..].chars().next_back();
    }

    fn end(mut self) -> Result<String, TextError> {
        if !self.seen {
            return Err(TextError::Empty);
        }
        self.end_line();
        self.out.truncate(self.out.trim_end().len());
        Ok(self.out)
    }

    fn joiner(&mut self, c: char, following: &str) {
        let next = following.chars().next();
        let in_emoji = c == ZWJ && self.emoji && next.is_some_and(|c| class(c) == Class::Emoji);
        // A joiner after a last letter shows its joining form; but a name must not end with an invisible character.
        let in_script =
            self.last.is_some_and(joins) && (!self.is_strict() || next.is_some_and(joins));
        if in_emoji || in_script {
            self.keep(c);
            self.emoji = false;
        }
    }

    fn selector(&mut self, c: char) {
        let Some(last) = self.last else { return };
        let fits = match c {
            // Selectors of text or emoji presentation.
            '\u{fe0e}' | '\u{fe0f}' => {
                class(last) == Class::Emoji || matches!(last, '0'..='9' | '#' | '*')
            }
            '\u{fe00}'..='\u{fe0d}' => !last.is_ascii() && class(last) == Class::Plain,
            '\u{e0100}'..='\u{e01ef}' => is_ideograph(last),
            _ => matches!(last, '\u{1800}'..='\u{18af}') && class(last) == Class::Plain,
        };
        if fits {
            self.keep(c);
        }
    }

    /// A directional mark affects only the layout of its neighbours, so it is kept outside names and titles.
    fn direction(&mut self, c: char) {
        let again = matches!(self.last, Some('\u{200e}' | '\u{200f}' | '\u{61c}'));
        if !self.is_strict() && !again {
            self.keep(c);
            self.emoji = false;
        }
    }

    /// The zero-width space, which allows line breaks in scripts without blanks, and the Mongolian vowel separator.
    fn separator(&mut self, c: char, following: &str) {
        let (Some(last), Some(next)) = (self.last, following.chars().next()) else {
            return;
        };
        let fits = if c == '\u{180e}' {
            let mongolian = |c| matches!(c, '\u{1820}'..='\u{18aa}') && class(c) == Class::Plain;
            mongolian(last) && mongolian(next)
        } else {
            is_unspaced(last) && is_unspaced(next) && class(next) == Class::Plain
        };
        if fits && !self.is_strict() {
            self.keep(c);
        }
    }

    /// Keeps tags of a subdivision's flag. Tags anywhere else could hide a text and are removed.
    fn tags(&mut self, first: char, following: &mut Chars<'_>) {
        if self.last != Some(BLACK_FLAG) {
            return;
        }
        let is_tag = |c| matches!(c, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}');
        let mut ahead = following.clone();
        let mut tags = 1;
        let end = loop {
            match ahead.next() {
                Some(c) if is_tag(c) => tags += 1,
                other => break other,
            }
        };
        if !is_tag(first) || !TAGS.contains(&tags) || end != Some(CANCEL_TAG) {
            return;
        }
        let sequence = following.as_str().len() - ahead.as_str().len();
        self.keep(first);
        for c in following.as_str()[..sequence].chars() {
            self.keep(c);
        }
        *following = ahead;
    }
}
