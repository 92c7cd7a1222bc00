//! JSON a piece at a time, for what is read and written too often for the general way.

use std::borrow::Cow;

/// Reads piece by piece; `None` is anything but what was asked for, or an unusual form of it.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The map has just begun: no comma comes first.
    first: bool,
}

impl<'a> Reader<'a> {
    /// `None` where it is not UTF-8.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        // Once for all of it is cheaper than for each text.
        let text = std::str::from_utf8(bytes).ok()?;
        Some(Self {
            text,
            at: 0,
            first: false,
        })
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        if self.peek()? != byte {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// Up to the next byte that a JSON text cannot hold as it is, which is taken too.
    fn run(&mut self) -> Option<(&'a str, u8)> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let len = plain_len(rest);
        let end = *rest.get(len)?;
        let run = self.text.get(self.at..self.at + len)?;
        self.at += len + 1;
        Some((run, end))
    }

    /// A map begins.
    pub fn open(&mut self) -> Option<()> {
        self.first = true;
        self.take(b'{')
    }

    /// The name of the map's next field as it stands, escapes and all; `Some(None)` is its end.
    pub fn name(&mut self) -> Option<Option<&'a [u8]>> {
        let mut byte = self.peek()?;
        if byte == b'}' {
            self.at += 1;
            // The map around this one, if any, has had its first field: this one.
            self.first = false;
            return Some(None);
        }
        if !std::mem::replace(&mut self.first, false) {
            if byte != b',' {
                return None;
            }
            self.at += 1;
            byte = self.peek()?;
        }
        if byte != b'"' {
            return None;
        }
        let rest = self.text.as_bytes().get(self.at + 1..)?;
        let len = rest.iter().position(|&byte| byte == b'"')?;
        self.at += len + 2;
        self.take(b':')?;
        Some(rest.get(..len))
    }

    /// A text without an escape.
    pub fn plain_text(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        match self.run()? {
            (run, b'"') => Some(run),
            _ => None,
        }
    }

    /// A text, its escapes undone; `\\u…` is unusual.
    pub fn text(&mut self) -> Option<Cow<'a, str>> {
        self.take(b'"')?;
        let (run, mut end) = self.run()?;
        if end == b'"' {
            return Some(Cow::Borrowed(run));
        }
        // Two of an escape's bytes make at least one of the text.
        let mut text = String::with_capacity(self.text.len() - self.at + run.len());
        text.push_str(run);
        while end == b'\\' {
            let escape = *self.text.as_bytes().get(self.at)?;
            self.at += 1;
            text.push(match escape {
                b'"' | b'\\' | b'/' => char::from(escape),
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                _ => return None,
            });
            let more;
            (more, end) = self.run()?;
            text.push_str(more);
        }
        (end == b'"').then_some(Cow::Owned(text))
    }

    /// A whole number from 0, below 10^19.
    pub fn number(&mut self) -> Option<u64> {
        self.peek()?;
        let rest = self.text.as_bytes().get(self.at..)?;
        let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        // A number that begins with 0 is 0; 20 digits may be too many for 64 bits.
        if len == 0 || len > 19 || (len > 1 && rest[0] == b'0') {
            return None;
        }
        if matches!(rest.get(len), Some(b'.' | b'e' | b'E')) {
            return None;
        }
        self.at += len;
        let digit = |number: u64, byte: &u8| number * 10 + u64::from(byte - b'0');
        Some(rest[..len].iter().fold(0, digit))
    }

    /// Takes a null, if there is one.
    pub fn null(&mut self) -> bool {
        let null = self.peek() == Some(b'n') && self.text[self.at..].starts_with("null");
        if null {
            self.at += 4;
        }
        null
    }

    /// Nothing but blanks follows.
    pub fn is_done(&mut self) -> bool {
        self.peek().is_none()
    }
}

/// Every byte of a word the same.
const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Bytes before the first that a JSON text must escape: a quote, a backslash, a control character below the blank.
fn plain_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // Each is 0x80 in the lowest byte that fits; bytes above it may be wrong, which nobody looks at.
        let zero = |word: u64| word.wrapping_sub(all(1)) & !word & all(0x80);
        let quote = zero(word ^ all(b'"'));
        let backslash = zero(word ^ all(b'\\'));
        let control = word.wrapping_sub(all(0x20)) & !word & all(0x80);
        let found = quote | backslash | control;
        if found != 0 {
            return i * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'\\');
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

/// Writes a text with its quotes and escapes, byte for byte as `serde_json` does.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, after) = rest.split_at(plain_len(rest));
        out.extend_from_slice(plain);
        let Some((&byte, after)) = after.split_first() else {
            break;
        };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let digit = |four: u8| HEX[usize::from(four & 0xf)];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[digit(byte >> 4), digit(byte)]);
            }
        }
        rest = after;
    }
    out.push(b'"');
}

/// Writes a whole number.
pub fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut high = number;
    // Eight digits at a time: arithmetic on 64 bits is dear where the component runs.
    while high >= 100_000_000 {
        let mut low = (high % 100_000_000) as u32;
        high /= 100_000_000;
        for _ in 0..4 {
            at -= 2;
            digits[at..at + 2].copy_from_slice(pair(low % 100));
            low /= 100;
        }
    }
    let mut low = high as u32;
    while low >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(pair(low % 100));
        low /= 100;
    }
    // What is left is one digit, or nothing after the last pair.
    if low > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + low as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// The two digits of a number below 100.
fn pair(number: u32) -> &'static [u8] {
    const PAIRS: [[u8; 2]; 100] = {
        let mut pairs = [[0; 2]; 100];
        let mut i = 0;
        while i < 100 {
            pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
            i += 1;
        }
        pairs
    };
    &PAIRS[number as usize]
}
