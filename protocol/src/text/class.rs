//! The class of each character; the table is generated from Unicode's data.

use super::table::TABLE;

/// Bits of a table entry that hold its class.
pub(super) const CLASS_BITS: u32 = 3;

/// The class of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// Visible by itself.
    Plain = 0,
    /// Visible on another character: general categories Mn, Mc and Me.
    Mark = 1,
    /// Visible and possibly part of an emoji sequence: `Extended_Pictographic`, which includes code points reserved for later
    /// emoji.
    Emoji = 2,
    /// `White_Space`.
    Space = 3,
    /// Default-ignorable, format and control characters and noncharacters.
    Hidden = 4,
    /// Has a width but shows nothing, or not the same to everybody: private use, unassigned, blank letters.
    Blank = 5,
}

/// Classifies a character.
pub(super) fn class(c: char) -> Class {
    let code = u32::from(c);
    // The most frequent ranges, without a search; a test compares them with the table.
    match code {
        0x20 => return Class::Space,
        0x21..=0x7e
        | 0xc0..=0x2ff
        | 0x400..=0x482
        | 0x48a..=0x52f
        | 0x620..=0x64a
        | 0x904..=0x939
        | 0xe01..=0xe30
        | 0x3041..=0x3096
        | 0x30a1..=0x30fa
        | 0x4e00..=0x9fff
        | 0xac00..=0xd7a3 => return Class::Plain,
        0x1f400..=0x1f53d | 0x1f546..=0x1f64f | 0x1f680..=0x1f6ff | 0x1f90c..=0x1f93a => {
            return Class::Emoji;
        }
        _ => {}
    }
    let class = searched(code);
    if class == Class::Blank && c.is_alphanumeric() {
        // The standard library may know a newer Unicode than the table.
        return Class::Plain;
    }
    class
}

fn searched(code: u32) -> Class {
    // The first entry is code point 0.
    let after = TABLE.partition_point(|entry| entry >> CLASS_BITS <= code);
    match TABLE[after.saturating_sub(1)] & ((1 << CLASS_BITS) - 1) {
        0 => Class::Plain,
        1 => Class::Mark,
        2 => Class::Emoji,
        3 => Class::Space,
        4 => Class::Hidden,
        _ => Class::Blank,
    }
}

/// Whether it is a regional indicator; two of them are a flag.
pub(super) fn is_regional(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}')
}

/// Whether it is an ideograph, which an ideographic variation selector may follow.
pub(super) fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3fffd}')
}

/// Whether it is a letter or mark of a script that uses joiners: Arabic and related scripts, Indic and South-East Asian
/// scripts, Mongolian.
pub(super) fn joins(c: char) -> bool {
    let script = matches!(c, '\u{600}'..='\u{109f}' | '\u{1780}'..='\u{18af}' | '\u{1a20}'..='\u{1aaf}'
        | '\u{1b00}'..='\u{1c4f}' | '\u{1cd0}'..='\u{1cff}' | '\u{a800}'..='\u{a8ff}' | '\u{a930}'..='\u{abff}'
        | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10a00}'..='\u{11fff}');
    script && (c.is_alphabetic() || class(c) == Class::Mark)
}

/// Whether it is a character of a South-East Asian script without blanks between words, where U+200B marks line breaks.
pub(super) fn is_unspaced(c: char) -> bool {
    let script = matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{1a20}'..='\u{1aaf}' | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}');
    script && matches!(class(c), Class::Plain | Class::Mark)
}

#[cfg(test)]
mod tests {
    //! Generates the table from Unicode's data in the crate `regex-syntax` (Unicode 16, licence Unicode-3.0) and prints it if
    //! `table.rs` differs.

    use regex_syntax::hir::{Class as Set, HirKind};

    use super::*;

    /// Sets the class of all code points that match a regular expression.
    fn mark(classes: &mut [u8], expression: &str, class: Class) {
        let hir = regex_syntax::parse(expression).expect("a class of Unicode");
        let HirKind::Class(Set::Unicode(set)) = hir.kind() else {
            panic!("{expression} is not a set");
        };
        for range in set.ranges() {
            for code in u32::from(range.start())..=u32::from(range.end()) {
                classes[code as usize] = class as u8;
            }
        }
    }

    fn table() -> Vec<u32> {
        let mut classes = vec![Class::Plain as u8; 0x11_0000];
        mark(&mut classes, r"[\p{Cn}\p{Co}]", Class::Blank);
        mark(&mut classes, r"\p{M}", Class::Mark);
        mark(
            &mut classes,
            r"[\p{Extended_Pictographic}--\p{ASCII}]",
            Class::Emoji,
        );
        mark(&mut classes, r"\p{White_Space}", Class::Space);
        // Format characters of Arabic and Syriac that precede a number are visible.
        mark(
            &mut classes,
            r"[[\p{Cc}\p{Cf}]--\p{White_Space}--\p{Prepended_Concatenation_Mark}]",
            Class::Hidden,
        );
        mark(
            &mut classes,
            r"[\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}]",
            Class::Hidden,
        );
        // Braille blank, null notehead, hieroglyph blanks and joiners, object replacement character.
        mark(
            &mut classes,
            r"[\u{2800}\u{1d159}\u{13430}-\u{1343f}\u{13441}\u{13442}\u{fffc}]",
            Class::Blank,
        );
        // Surrogates are not characters.
        classes[0xd800..0xe000].fill(Class::Blank as u8);
        let mut table = Vec::new();
        let mut last = None;
        for (code, &class) in classes.iter().enumerate() {
            if last != Some(class) {
                table.push((code as u32) << CLASS_BITS | u32::from(class));
                last = Some(class);
            }
        }
        table
    }

    #[test]
    fn the_table_is_unicodes() {
        let table = table();
        if table != TABLE {
            let entries: String = table.iter().map(|entry| format!("{entry:#x}, ")).collect();
            println!(
                "pub(super) static TABLE: [u32; {}] = [{entries}];",
                table.len()
            );
            panic!("the table is not that of Unicode's data: what is printed is");
        }
    }

    #[test]
    fn what_is_not_searched_is_what_the_table_says() {
        for c in '\0'..=char::MAX {
            let (quick, searched) = (class(c), searched(u32::from(c)));
            let newer = searched == Class::Blank && c.is_alphanumeric();
            assert!(quick == searched || newer && quick == Class::Plain, "{c:?}");
        }
    }
}
