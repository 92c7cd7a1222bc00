//! Frame headers (RFC 6455 section 5.2), masking, and complete server frames.

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// The next part of a fragmented message.
    Continuation,
    /// A text message or its first part.
    Text,
    /// A binary message or its first part.
    Binary,
    /// The last frame that a side sends.
    Close,
    /// Must be answered by a pong.
    Ping,
    /// Answers a ping, or is sent without one.
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// Whether it is a control frame (close, ping, pong), which is not fragmented and has at most 125 bytes.
    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// It is the last frame of its message.
    pub fin: bool,
    /// The message is compressed.
    pub rsv1: bool,
    /// The frame's kind.
    pub opcode: Opcode,
    /// Bytes of payload.
    pub length: u64,
    /// The masking key.
    pub mask: [u8; 4],
    /// Bytes of the header itself.
    pub bytes: usize,
}

/// Bytes of a client's header, at most.
pub const HEADER_BYTES_MAX: usize = 14;
/// Bytes of a server's header, at most.
pub const SERVER_HEADER_BYTES_MAX: usize = 10;
/// Bytes of a control frame's payload, at most.
pub const CONTROL_BYTES_MAX: usize = 125;

/// Why bytes are not a client's frame header. Each is closed with 1002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// RSV2 or RSV3 is set, which no supported extension uses.
    #[error("a reserved bit is set")]
    Reserved,
    /// An unknown opcode.
    #[error("an unknown opcode")]
    Opcode,
    /// The frame is not masked, as a client's must be.
    #[error("a frame without a mask")]
    Unmasked,
    /// A control frame that is fragmented or longer than 125 bytes.
    #[error("a control frame that is fragmented or too long")]
    Control,
    /// A length in more bytes than it needs, or beyond 63 bits.
    #[error("a length that is not in its shortest form")]
    Length,
}

impl Header {
    /// Parses a header; `None` while bytes are missing.
    ///
    /// # Errors
    /// An invalid header, as soon as the bytes so far show it.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, HeaderError> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & 0x30 != 0 {
            return Err(HeaderError::Reserved);
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(HeaderError::Opcode)?;
        let (fin, rsv1) = (first & 0x80 != 0, first & 0x40 != 0);
        if second & 0x80 == 0 {
            return Err(HeaderError::Unmasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() && (!fin || usize::from(short) > CONTROL_BYTES_MAX) {
            return Err(HeaderError::Control);
        }
        let (length, rest, width) = match short {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest, 2),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest, 8),
                None => return Ok(None),
            },
            short => (u64::from(short), rest, 0),
        };
        let shortest = match width {
            2 => length > 125,
            8 => length > 0xffff && length >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(HeaderError::Length);
        }
        let Some((mask, _)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        Ok(Some(Self {
            fin,
            rsv1,
            opcode,
            length,
            mask: *mask,
            bytes: 2 + width + 4,
        }))
    }
}

/// Masks or unmasks a payload (RFC 6455 section 5.3).
pub fn mask(payload: &mut [u8], key: [u8; 4]) {
    let wide = u64::from_ne_bytes([
        key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3],
    ]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ wide).to_ne_bytes());
        }
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Appends the header of an unfragmented server frame.
pub fn write_header(opcode: Opcode, compressed: bool, length: usize, into: &mut Vec<u8>) {
    into.push(0x80 | if compressed { 0x40 } else { 0 } | opcode.bits());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short <= 125 => into.push(short),
        (_, Ok(medium)) => {
            into.push(126);
            into.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            into.push(127);
            into.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a control frame; a payload over 125 bytes is cut.
pub fn write_control(opcode: Opcode, payload: &[u8], into: &mut Vec<u8>) {
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    write_header(opcode, false, payload.len(), into);
    into.extend_from_slice(payload);
}

/// Appends a close frame; a reason over 123 bytes is cut between characters.
pub fn write_close(code: u16, reason: &str, into: &mut Vec<u8>) {
    let mut end = reason.len().min(CONTROL_BYTES_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    write_header(Opcode::Close, false, 2 + end, into);
    into.extend_from_slice(&code.to_be_bytes());
    into.extend_from_slice(&reason.as_bytes()[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_refused_as_early_as_they_can_be() {
        assert_eq!(Header::parse(&[0x81]), Ok(None));
        assert_eq!(Header::parse(&[0x81, 0x05]), Err(HeaderError::Unmasked));
        assert_eq!(Header::parse(&[0x91, 0x85]), Err(HeaderError::Reserved));
        assert_eq!(Header::parse(&[0x83, 0x85]), Err(HeaderError::Opcode));
        assert_eq!(Header::parse(&[0x89, 0xfe]), Err(HeaderError::Control));
        assert_eq!(Header::parse(&[0x09, 0x80]), Err(HeaderError::Control));
        assert_eq!(
            Header::parse(&[0x81, 0xfe, 0, 125]),
            Err(HeaderError::Length)
        );
        assert_eq!(
            Header::parse(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            Err(HeaderError::Length)
        );
        assert_eq!(
            Header::parse(&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            Err(HeaderError::Length)
        );
    }

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        let mut bytes = Vec::new();
        write_close(1001, &"ü".repeat(100), &mut bytes);
        assert_eq!(bytes[1], 2 + 122);
        assert!(std::str::from_utf8(&bytes[4..]).is_ok());
    }

    proptest! {
        #[test]
        fn masking_twice_changes_nothing(payload: Vec<u8>, key: [u8; 4]) {
            let mut masked = payload.clone();
            mask(&mut masked, key);
            for (index, byte) in payload.iter().enumerate() {
                prop_assert_eq!(masked[index], byte ^ key[index % 4]);
            }
            mask(&mut masked, key);
            prop_assert_eq!(masked, payload);
        }

        #[test]
        fn no_bytes_make_the_header_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            if let Ok(Some(header)) = Header::parse(&bytes) {
                prop_assert!(header.bytes <= bytes.len());
                prop_assert!(header.bytes <= HEADER_BYTES_MAX);
            }
        }

        #[test]
        fn server_headers_say_the_length(length in prop_oneof![0usize..200, 65_000usize..66_000, any::<u32>().prop_map(|n| n as usize)]) {
            let mut bytes = Vec::new();
            write_header(Opcode::Binary, true, length, &mut bytes);
            prop_assert!(bytes.len() <= SERVER_HEADER_BYTES_MAX);
            bytes[1] |= 0x80;
            bytes.extend_from_slice(&[1, 2, 3, 4]);
            let header = Header::parse(&bytes).expect("sane").expect("whole");
            prop_assert_eq!(header.length, length as u64);
            prop_assert!(header.rsv1 && header.fin);
        }
    }
}
