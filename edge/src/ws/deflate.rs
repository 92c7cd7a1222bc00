//! `permessage-deflate` (RFC 7692) without context takeover: every message is compressed independently, so one compressor
//! and one decompressor serve a whole shard, and viewers share compressed frames.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Bytes from which a payload is compressed; deflate does not make shorter ones smaller.
pub const COMPRESS_BYTES_MIN: usize = 96;
/// The end of a flushed deflate block, which is not sent (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// [`TAIL`] and an empty final block: appended to a valid message, they end its data.
const END: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];
/// Final blocks in a message; one with more is malformed. Each resets the decompressor, and clients send at most one.
const FINAL_BLOCKS_MAX: usize = 16;
/// Bytes of data in one stored block, at most.
const STORED_BYTES_MAX: usize = 0xffff;

/// Why a compressed message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// Longer than the bound; closed with 1009.
    #[error("the inflated message is too long")]
    TooLong,
    /// Not valid deflate data; closed with 1007.
    #[error("the message is not deflate data")]
    Malformed,
}

/// Inflates the messages of all connections of a shard.
#[derive(Debug)]
pub struct Inflater {
    engine: Decompress,
    out: Vec<u8>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self {
            engine: Decompress::new(false),
            out: Vec::new(),
        }
    }
}

impl Inflater {
    /// Inflates a message, to at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When the message is longer, or is not valid deflate data: also when it ends within a block or bytes follow its end.
    pub fn inflate(&mut self, data: &[u8], bytes_max: usize) -> Result<&[u8], InflateError> {
        self.out.clear();
        self.out.reserve_exact(bytes_max + 1);
        let mut remaining = data;
        for _ in 0..FINAL_BLOCKS_MAX {
            self.engine.reset(false);
            let (read, ended) = self.feed(remaining, bytes_max)?;
            remaining = &remaining[read..];
            if !ended {
                if !remaining.is_empty() {
                    return Err(InflateError::Malformed);
                }
                // An empty message may have no bytes. Any other message must end at the end of a block.
                return match data.is_empty() || self.feed(&END, bytes_max)? == (END.len(), true) {
                    true => self.whole(bytes_max),
                    false => Err(InflateError::Malformed),
                };
            }
            // A final block may end the message or be followed by other blocks (RFC 7692 section 7.2.3.4).
            if remaining.is_empty() {
                return self.whole(bytes_max);
            }
        }
        Err(InflateError::Malformed)
    }

    /// Inflates `part`; returns how many bytes of it were read, and whether a final block ended there.
    fn feed(&mut self, part: &[u8], bytes_max: usize) -> Result<(usize, bool), InflateError> {
        let mut read = 0;
        loop {
            if self.out.len() > bytes_max {
                return Err(InflateError::TooLong);
            }
            let (before, written) = (self.engine.total_in(), self.out.len());
            let status = self
                .engine
                .decompress_vec(&part[read..], &mut self.out, FlushDecompress::Sync)
                .map_err(|_| InflateError::Malformed)?;
            let step = usize::try_from(self.engine.total_in() - before)
                .map_err(|_| InflateError::Malformed)?;
            read += step;
            let stuck = step == 0 && self.out.len() == written;
            let empty = read == part.len() && self.out.len() < self.out.capacity();
            match status {
                Status::StreamEnd => return Ok((read, true)),
                Status::Ok | Status::BufError if stuck || empty => return Ok((read, false)),
                Status::Ok | Status::BufError => {}
            }
        }
    }

    fn whole(&self, bytes_max: usize) -> Result<&[u8], InflateError> {
        if self.out.len() > bytes_max {
            return Err(InflateError::TooLong);
        }
        Ok(&self.out)
    }
}

/// Compresses the messages that a shard sends.
#[derive(Debug)]
pub struct Deflater {
    engine: Compress,
}

impl Default for Deflater {
    fn default() -> Self {
        Self {
            engine: Compress::new(Compression::fast(), false),
        }
    }
}

impl Deflater {
    /// Appends the compressed message to `into`; `false`, and `into` unchanged, when it would not be shorter.
    pub fn message(&mut self, data: &[u8], into: &mut Vec<u8>) -> bool {
        let start = into.len();
        if data.len() < COMPRESS_BYTES_MIN
            || !self.block(data, into)
            || into.len() - start >= data.len() + TAIL.len()
        {
            into.truncate(start);
            return false;
        }
        into.truncate(into.len() - TAIL.len());
        true
    }

    /// Appends `data` as blocks that end at a byte boundary and refer to nothing before them, so that blocks of several
    /// sources can be concatenated.
    fn block(&mut self, data: &[u8], into: &mut Vec<u8>) -> bool {
        self.engine.reset();
        into.reserve(data.len() / 2 + 64);
        loop {
            let Ok(read) = usize::try_from(self.engine.total_in()) else {
                return false;
            };
            if self
                .engine
                .compress_vec(&data[read..], into, FlushCompress::Sync)
                .is_err()
            {
                return false;
            }
            if into.len() < into.capacity() {
                return into.ends_with(&TAIL);
            }
            into.reserve(into.capacity() / 2 + 64);
        }
    }

    /// The compressed form of a blob, for [`spliced`]; `None` when it would not be shorter.
    #[must_use]
    pub fn blob(&mut self, data: &[u8]) -> Option<Box<[u8]>> {
        let mut blocks = Vec::new();
        (data.len() >= COMPRESS_BYTES_MIN
            && self.block(data, &mut blocks)
            && blocks.len() < data.len())
        .then(|| blocks.into_boxed_slice())
    }
}

/// Appends the compressed message of `head`, blob and `tail`, where the blob is compressed already. The other parts become
/// stored blocks, so that nothing is compressed per viewer.
pub fn spliced(head: &[u8], blob: &[u8], tail: &[u8], into: &mut Vec<u8>) {
    stored(head, into);
    into.extend_from_slice(blob);
    stored(tail, into);
    // An empty stored block without its last four bytes, which the receiver adds.
    into.push(0x00);
}

fn stored(data: &[u8], into: &mut Vec<u8>) {
    for chunk in data.chunks(STORED_BYTES_MAX) {
        let length = u16::try_from(chunk.len()).unwrap_or(u16::MAX);
        into.push(0x00);
        into.extend_from_slice(&length.to_le_bytes());
        into.extend_from_slice(&(!length).to_le_bytes());
        into.extend_from_slice(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_ends_where_it_says() {
        let mut inflater = Inflater::default();
        // The examples of RFC 7692 section 7.2.3: one block, two blocks, stored, final with the next one's header.
        for whole in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
            &[
                0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
            ],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            // A final block and nothing after it.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(
                inflater.inflate(whole, 100),
                Ok(&b"Hello"[..]),
                "{whole:x?}"
            );
        }
        assert_eq!(inflater.inflate(&[], 100), Ok(&b""[..]));
        assert_eq!(inflater.inflate(&[0x00], 100), Ok(&b""[..]));
        for wrong in [
            // Cut within a block and within a stored block.
            &[0xf2, 0x48, 0xcd][..],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65],
            // Invalid bytes after a final block.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x07],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0xff],
        ] {
            let read = inflater.inflate(wrong, 100);
            assert_eq!(read, Err(InflateError::Malformed), "{wrong:x?}");
        }
        let many = [0x03, 0x00].repeat(FINAL_BLOCKS_MAX);
        assert_eq!(inflater.inflate(&many, 100), Ok(&b""[..]));
        let more = [0x03, 0x00].repeat(FINAL_BLOCKS_MAX + 1);
        assert_eq!(inflater.inflate(&more, 100), Err(InflateError::Malformed));
    }

    #[test]
    fn a_bomb_is_cut_off_at_the_bound() {
        let mut bomb = Vec::new();
        assert!(Deflater::default().message(&vec![b'a'; 10_000_000], &mut bomb));
        let mut inflater = Inflater::default();
        assert_eq!(inflater.inflate(&bomb, 4_096), Err(InflateError::TooLong));
        assert_eq!(
            inflater.inflate(&[0xff; 40], 4_096),
            Err(InflateError::Malformed)
        );
        let mut exact = Vec::new();
        assert!(Deflater::default().message(&[b'a'; 4_096], &mut exact));
        assert_eq!(inflater.inflate(&exact, 4_096).map(<[u8]>::len), Ok(4_096));
        assert_eq!(inflater.inflate(&exact, 4_095), Err(InflateError::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(data in proptest::collection::vec(0u8..20, 0..20_000)) {
            let mut deflater = Deflater::default();
            let mut compressed = Vec::new();
            let mut inflater = Inflater::default();
            for _ in 0..2 {
                compressed.clear();
                if deflater.message(&data, &mut compressed) {
                    prop_assert!(compressed.len() < data.len());
                    prop_assert_eq!(inflater.inflate(&compressed, 20_000), Ok(&data[..]));
                }
            }
        }

        #[test]
        fn a_spliced_message_reads_as_its_parts(head: Vec<u8>, blob in proptest::collection::vec(0u8..4, 200..80_000), tail: Vec<u8>) {
            let mut deflater = Deflater::default();
            let compressed = deflater.blob(&blob).expect("few symbols compress");
            let mut message = Vec::new();
            spliced(&head, &compressed, &tail, &mut message);
            let whole = [&head[..], &blob, &tail].concat();
            let mut inflater = Inflater::default();
            prop_assert_eq!(inflater.inflate(&message, 200_000), Ok(&whole[..]));
        }

        #[test]
        fn no_bytes_make_the_inflater_panic_or_run_over(data: Vec<u8>) {
            if let Ok(out) = Inflater::default().inflate(&data, 100) {
                prop_assert!(out.len() <= 100);
            }
        }
    }
}
