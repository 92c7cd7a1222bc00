//! MessagePack a piece at a time, for what is read and written too often for the general way.

/// Reads piece by piece; `None` is anything but what was asked for, or an unusual form of it.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn some(&mut self, len: usize) -> Option<&'a [u8]> {
        let (some, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(some)
    }

    fn u16(&mut self) -> Option<usize> {
        self.bytes().map(|len| usize::from(u16::from_be_bytes(len)))
    }

    fn u32(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(self.bytes()?)).ok()
    }

    /// A map begins: how many fields it has.
    pub fn map(&mut self) -> Option<usize> {
        match self.byte()? {
            marker @ 0x80..=0x8f => Some(usize::from(marker & 0x0f)),
            0xde => self.u16(),
            0xdf => self.u32(),
            _ => None,
        }
    }

    /// An array begins: how many elements it has.
    pub fn array(&mut self) -> Option<usize> {
        match self.byte()? {
            marker @ 0x90..=0x9f => Some(usize::from(marker & 0x0f)),
            0xdc => self.u16(),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.text_bytes()?).ok()
    }

    /// A text of which nobody has looked whether it is UTF-8.
    pub fn text_bytes(&mut self) -> Option<&'a [u8]> {
        let len = match self.byte()? {
            marker @ 0xa0..=0xbf => usize::from(marker & 0x1f),
            0xd9 => usize::from(self.byte()?),
            0xda => self.u16()?,
            0xdb => self.u32()?,
            _ => return None,
        };
        self.some(len)
    }

    /// Bytes.
    pub fn binary(&mut self) -> Option<&'a [u8]> {
        let len = match self.byte()? {
            0xc4 => usize::from(self.byte()?),
            0xc5 => self.u16()?,
            _ => return None,
        };
        self.some(len)
    }

    /// A whole number from 0, in any of the forms that one may have.
    pub fn number(&mut self) -> Option<u64> {
        Some(match self.byte()? {
            number @ 0..0x80 => number.into(),
            0xcc => self.byte()?.into(),
            0xcd => u16::from_be_bytes(self.bytes()?).into(),
            0xce => u32::from_be_bytes(self.bytes()?).into(),
            0xcf => u64::from_be_bytes(self.bytes()?),
            0xd0 => u64::try_from(i8::from_be_bytes(self.bytes()?)).ok()?,
            0xd1 => u64::try_from(i16::from_be_bytes(self.bytes()?)).ok()?,
            0xd2 => u64::try_from(i32::from_be_bytes(self.bytes()?)).ok()?,
            0xd3 => u64::try_from(i64::from_be_bytes(self.bytes()?)).ok()?,
            _ => return None,
        })
    }

    /// One value of any kind, as it lies there: `None` where it is cut off, nests deeper than `depth_max`, holds a text
    /// that is not UTF-8 or the byte that stands for nothing (0xc1). Costs no stack, and no more steps than bytes.
    pub fn value(&mut self, depth_max: usize) -> Option<&'a [u8]> {
        let begin = self.rest;
        // How many values each array or map around still has to come.
        let mut around: Vec<usize> = Vec::new();
        loop {
            let inside = self.head()?;
            if inside > 0 {
                // Each takes a byte at least: a length that lies is seen before anything is done for it.
                if inside > self.rest.len() || around.len() == depth_max {
                    return None;
                }
                around.push(inside);
                continue;
            }
            loop {
                match around.last_mut() {
                    None => return begin.get(..begin.len() - self.rest.len()),
                    Some(1) => {
                        around.pop();
                    }
                    Some(left) => {
                        *left -= 1;
                        break;
                    }
                }
            }
        }
    }

    /// A value, or the beginning of one that holds others: how many.
    fn head(&mut self) -> Option<usize> {
        let marker = *self.rest.first()?;
        let len = match marker {
            0x80..=0x8f | 0xde | 0xdf => return self.map()?.checked_mul(2),
            0x90..=0x9f | 0xdc => return self.array(),
            0xdd => {
                self.byte()?;
                return self.u32();
            }
            0xa0..=0xbf | 0xd9..=0xdb => {
                self.text()?;
                return Some(0);
            }
            0xc1 => return None,
            0xc4..=0xc9 => {
                self.byte()?;
                let len = match marker {
                    0xc4 | 0xc7 => usize::from(self.byte()?),
                    0xc5 | 0xc8 => self.u16()?,
                    _ => self.u32()?,
                };
                // An extension has its type besides.
                self.some(usize::from(marker >= 0xc7))?;
                self.some(len)?;
                return Some(0);
            }
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => 1,
            0xcc | 0xd0 => 2,
            0xcd | 0xd1 => 3,
            0xca | 0xce | 0xd2 => 5,
            0xcb | 0xcf | 0xd3 => 9,
            // Extensions of 1, 2, 4, 8 and 16 bytes.
            0xd4..=0xd8 => 2 + (1 << (marker - 0xd4)),
        };
        self.some(len)?;
        Some(0)
    }

    /// Takes a null, if there is one.
    pub fn null(&mut self) -> bool {
        match self.rest.split_first() {
            Some((0xc0, rest)) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Takes these bytes, if they come next: a field's name as it was written, say.
    pub fn exactly(&mut self, bytes: &[u8]) -> bool {
        match self.rest.strip_prefix(bytes) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

/// Writes a text, as `rmp_serde` does.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        len @ 0..32 => out.push(0xa0 | len as u8),
        len @ 32..0x100 => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..0x1_0000 => {
            out.push(0xda);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// Writes bytes, as `rmp_serde` does.
pub fn write_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        len @ 0..0x100 => out.extend_from_slice(&[0xc4, len as u8]),
        len @ 0x100..0x1_0000 => {
            out.push(0xc5);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0xc6);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

/// Writes a whole number in its shortest form, as `rmp_serde` does.
pub fn write_number(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x80 => out.push(number as u8),
        0x80..0x100 => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..0x1_0000 => {
            out.push(0xcd);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(0xce);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Writes the beginning of an array.
pub fn write_array(out: &mut Vec<u8>, len: usize) {
    match len {
        0..16 => out.push(0x90 | len as u8),
        16..0x1_0000 => {
            out.push(0xdc);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdd);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}
/// Appends a field's name, as it is written, and its list of texts; an empty list is left out.
pub fn write_texts(out: &mut Vec<u8>, field: &[u8], texts: &[&str]) {
    if texts.is_empty() {
        return;
    }
    out.extend_from_slice(field);
    write_array(out, texts.len());
    for text in texts {
        write_text(out, text);
    }
}

/// A map's bytes as a later version may write them: its fields in another order, and one that is not known.
#[cfg(test)]
pub(crate) fn of_tomorrow(bytes: &[u8]) -> Vec<u8> {
    let value = rmpv::decode::read_value(&mut &*bytes).expect("reads");
    let rmpv::Value::Map(mut fields) = value else {
        panic!("no map");
    };
    fields.reverse();
    fields.push(("tomorrow".into(), rmpv::Value::Nil));
    let mut other = Vec::new();
    rmpv::encode::write_value(&mut other, &rmpv::Value::Map(fields)).expect("writes");
    other
}
