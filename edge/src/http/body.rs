//! Decoding of chunked bodies (RFC 9112 section 7.1).

use bytes::{Buf, BytesMut};

/// Bytes of a chunk's first line: its size, and extensions, which are ignored.
const LINE_BYTES_MAX: usize = 256;
/// Bytes of the trailer fields after the last chunk, which are ignored.
const TRAILER_BYTES_MAX: usize = 4 << 10;
/// Number of trailer fields.
const TRAILERS_MAX: usize = 32;

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The bytes are no valid chunks.
    Malformed,
    /// The body is longer than the bound.
    TooLong,
}

#[derive(Debug, Default)]
enum At {
    /// In the line with a chunk's size.
    #[default]
    Size,
    /// In a chunk's data, of which this many bytes are missing.
    Data(usize),
    /// In the line end after a chunk's data.
    End,
    /// In the trailer fields after the last chunk.
    Trailers,
}

/// A body of which not all chunks may have been received.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    max: usize,
    body: Vec<u8>,
}

impl Chunks {
    /// A body of at most `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        Self {
            at: At::Size,
            max,
            body: Vec::new(),
        }
    }

    /// Decodes and removes as many bytes of `read` as possible; `true` when the body is complete.
    pub(super) fn decode(&mut self, read: &mut BytesMut) -> Result<bool, Flaw> {
        loop {
            match self.at {
                At::Size => match httparse::parse_chunk_size(read) {
                    Ok(httparse::Status::Complete((line, size))) => {
                        read.advance(line);
                        let size = usize::try_from(size).map_err(|_| Flaw::TooLong)?;
                        if size > self.max - self.body.len() {
                            return Err(Flaw::TooLong);
                        }
                        self.at = if size == 0 {
                            At::Trailers
                        } else {
                            At::Data(size)
                        };
                    }
                    Ok(httparse::Status::Partial) if read.len() < LINE_BYTES_MAX => {
                        return Ok(false);
                    }
                    Ok(httparse::Status::Partial) | Err(_) => return Err(Flaw::Malformed),
                },
                At::Data(left) => {
                    let count = left.min(read.len());
                    self.body.extend_from_slice(&read[..count]);
                    read.advance(count);
                    if count < left {
                        self.at = At::Data(left - count);
                        return Ok(false);
                    }
                    self.at = At::End;
                }
                At::End => {
                    if read.len() < 2 {
                        return Ok(false);
                    }
                    if !read.starts_with(b"\r\n") {
                        return Err(Flaw::Malformed);
                    }
                    read.advance(2);
                    self.at = At::Size;
                }
                At::Trailers => {
                    let mut room = [httparse::EMPTY_HEADER; TRAILERS_MAX];
                    let length = match httparse::parse_headers(read, &mut room) {
                        Ok(httparse::Status::Complete((length, _))) => length,
                        Ok(httparse::Status::Partial) if read.len() < TRAILER_BYTES_MAX => {
                            return Ok(false);
                        }
                        Ok(httparse::Status::Partial) | Err(_) => return Err(Flaw::Malformed),
                    };
                    read.advance(length);
                    return Ok(true);
                }
            }
        }
    }

    /// The decoded body.
    pub(super) fn into_body(self) -> Vec<u8> {
        self.body
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &[u8], pieces: usize) -> (Result<bool, Flaw>, Vec<u8>, Vec<u8>) {
        let mut chunks = Chunks::new(16);
        let mut read = BytesMut::new();
        let mut last = Ok(false);
        for piece in text.chunks(pieces) {
            read.extend_from_slice(piece);
            if last == Ok(false) {
                last = chunks.decode(&mut read);
            }
        }
        (last, chunks.into_body(), read.to_vec())
    }

    #[test]
    fn chunks_come_in_any_pieces_and_leave_what_follows() {
        let text = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\nGET /";
        for pieces in 1..text.len() {
            let (last, body, left) = all(text, pieces);
            assert_eq!((last, body.as_slice()), (Ok(true), &b"hello!"[..]));
            assert_eq!(left, b"GET /", "pieces of {pieces}");
        }
    }

    #[test]
    fn what_is_no_chunk_or_too_much_is_refused() {
        for (text, flaw) in [
            (&b"x\r\n"[..], Flaw::Malformed),
            (b"-1\r\n", Flaw::Malformed),
            (b"2\r\nabc\r\n", Flaw::Malformed),
            (b"0\r\nno field\r\n\r\n", Flaw::Malformed),
            (b"11\r\n", Flaw::TooLong),
            (b"10\r\n0123456789abcdef\r\n1\r\n", Flaw::TooLong),
            (b"ffffffffffffffff\r\n", Flaw::TooLong),
            (b"10000000000000000\r\n", Flaw::Malformed),
        ] {
            let name = String::from_utf8_lossy(text);
            assert_eq!(all(text, text.len()).0, Err(flaw), "{name}");
        }
        let endless = [b"1;".as_slice(), &[b'x'; LINE_BYTES_MAX]].concat();
        assert_eq!(all(&endless, endless.len()).0, Err(Flaw::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, pieces in 1_usize..64) {
            let _ = all(&bytes, pieces);
        }
    }
}
