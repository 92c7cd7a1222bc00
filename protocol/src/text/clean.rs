//! One pass over a text: what is shown is kept, in its place and within bounds.
//!
//! What becomes of a character depends on what was kept before it and, for joiners, on the next one.

use std::str::Chars;

use super::TextError;
use super::class::{Class, class, is_ideograph, is_unspaced, joins};

/// What differs between the kinds of texts.
pub(super) struct Rules {
    /// Lines at the most. With 1 the text is a name or a title, which is held stricter.
    pub(super) lines_max: usize,
    /// Whether a control character refuses the text; else it is taken out.
    pub(super) controls_refused: bool,
}

/// Joins emoji, and letters in a few scripts.
const ZWJ: char = '\u{200d}';
/// Keeps letters apart that would be joined.
const ZWNJ: char = '\u{200c}';
/// The flag that tags may follow: England's, say.
const BLACK_FLAG: char = '\u{1f3f4}';
/// Ends a sequence of tags.
const CANCEL_TAG: char = '\u{e007f}';
/// Tags of a subdivision's flag: `gbeng`, `usca`.
const TAGS: std::ops::RangeInclusive<usize> = 3..=6;
/// Newlines in a row: one empty line.
const NEWLINES_MAX: usize = 2;

/// Marks that belong together, and how many of them one base may bear.
#[derive(Clone, Copy)]
enum Marks {
    /// For any script: accents, enclosing marks. Vietnamese and polytonic Greek need 3 at the most, phonetics 4.
    Any = 0,
    /// Thai and Lao: a vowel, a tone and one more sign.
    Thai = 1,
    /// Tibetan stacks and Myanmar syllables, written with marks alone.
    Stacked = 2,
    /// All others: Hebrew with points and cantillation, Arabic of the Quran, Vedic.
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

/// A skin tone, which may follow an emoji.
pub(super) fn is_modifier(c: char) -> bool {
    matches!(c, '\u{1f3fb}'..='\u{1f3ff}')
}

/// Cleans a text.
///
/// # Errors
/// [`TextError::Empty`] when nothing that can be seen is left, [`TextError::Control`] where that is refused.
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
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        cleaner.take(c, &mut rest)?;
    }
    cleaner.end()
}

struct Cleaner<'a> {
    rules: &'a Rules,
    out: String,
    /// The character kept last in this line.
    last: Option<char>,
    /// What was kept last is an emoji, with its selector or skin tone, to which another may be joined.
    emoji: bool,
    /// On the base kept last.
    marks: [u8; Marks::COUNT],
    /// Where the line begins.
    line: usize,
    line_is_seen: bool,
    seen: bool,
    newlines: usize,
}

impl Cleaner<'_> {
    fn take(&mut self, c: char, rest: &mut Chars<'_>) -> Result<(), TextError> {
        match c {
            '\r' if rest.as_str().starts_with('\n') => {}
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => self.newline(),
            ' ' | '\t' => self.space(' '),
            '!'..='~' => self.base(c, false),
            ZWJ | ZWNJ => self.joiner(c, rest.as_str()),
            '\u{fe00}'..='\u{fe0f}'
            | '\u{e0100}'..='\u{e01ef}'
            | '\u{180b}'..='\u{180d}'
            | '\u{180f}' => {
                self.selector(c);
            }
            '\u{200e}' | '\u{200f}' | '\u{61c}' => self.direction(c),
            '\u{200b}' | '\u{180e}' => self.separator(c, rest.as_str()),
            '\u{e0020}'..='\u{e007e}' => self.tags(c, rest),
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

    /// Keeps a character that begins anew.
    fn push(&mut self, c: char) {
        self.keep(c);
        self.emoji = false;
        self.marks = [0; Marks::COUNT];
    }

    /// Keeps a character that belongs to what is there.
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
            // The rest goes on in the last line.
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

    /// A line in which nothing is to be seen is empty; blanks at the end go.
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

    fn joiner(&mut self, c: char, rest: &str) {
        let next = rest.chars().next();
        let in_emoji = c == ZWJ && self.emoji && next.is_some_and(|c| class(c) == Class::Emoji);
        // A letter may be shown in its joining form alone; a name does not end with what is not seen.
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
            // Text or emoji.
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

    /// A mark of direction says how what is next to it is laid out, and no more.
    fn direction(&mut self, c: char) {
        let again = matches!(self.last, Some('\u{200e}' | '\u{200f}' | '\u{61c}'));
        if !self.is_strict() && !again {
            self.keep(c);
            self.emoji = false;
        }
    }

    /// A place for a line to break in scripts without blanks, and Mongolian's vowel separator.
    fn separator(&mut self, c: char, rest: &str) {
        let (Some(last), Some(next)) = (self.last, rest.chars().next()) else {
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

    /// The flag of a part of a country; tags in any other place are a hidden text.
    fn tags(&mut self, first: char, rest: &mut Chars<'_>) {
        if self.last != Some(BLACK_FLAG) {
            return;
        }
        let is_tag = |c| matches!(c, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}');
        let mut ahead = rest.clone();
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
        let sequence = rest.as_str().len() - ahead.as_str().len();
        self.keep(first);
        for c in rest.as_str()[..sequence].chars() {
            self.keep(c);
        }
        *rest = ahead;
    }
}
