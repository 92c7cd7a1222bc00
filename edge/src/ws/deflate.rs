//! `permessage-deflate` (RFC 7692) without context takeover: every message stands alone, so one compressor and one
//! decompressor serve a whole shard and a compressed frame is shared by all its viewers.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Payloads below this are sent as they are: deflate does not make them smaller.
pub const COMPRESS_BYTES_MIN: usize = 96;
/// What ends a flushed deflate block and is left out of the message (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// Bytes that one stored block can carry.
const STORED_BYTES_MAX: usize = 0xffff;

/// The answer to an offer that we take.
pub const ACCEPTED: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Whether one of the offers in a `Sec-WebSocket-Extensions` header can be taken.
///
/// An offer with `server_max_window_bits` below 15 is declined: our window is 15 bits.
#[must_use]
pub fn acceptable(offers: &str) -> bool {
    offers.split(',').any(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate"))
            && parts.all(|parameter| {
                let (name, value) = match parameter.split_once('=') {
                    Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                    None => (parameter, None),
                };
                match (name, value) {
                    (
                        "server_no_context_takeover"
                        | "client_no_context_takeover"
                        | "client_max_window_bits",
                        None,
                    )
                    | ("server_max_window_bits", Some("15")) => true,
                    ("client_max_window_bits", Some(bits)) => bits
                        .parse::<u8>()
                        .is_ok_and(|bits| (8..=15).contains(&bits)),
                    _ => false,
                }
            })
    })
}

/// Why a compressed message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// More than the bound: 1009.
    #[error("the inflated message is too long")]
    TooLong,
    /// Not deflate: 1007.
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
    /// The message that `data` is, at most `bytes_max` long.
    ///
    /// # Errors
    /// When it is longer or no deflate data.
    pub fn inflate(&mut self, data: &[u8], bytes_max: usize) -> Result<&[u8], InflateError> {
        self.engine.reset(false);
        self.out.clear();
        self.out.reserve_exact(bytes_max + 1);
        for part in [data, &TAIL] {
            let before = self.engine.total_in();
            loop {
                let read = usize::try_from(self.engine.total_in() - before)
                    .map_err(|_| InflateError::Malformed)?;
                if self.out.len() > bytes_max {
                    return Err(InflateError::TooLong);
                }
                let written = self.out.len();
                let status = self
                    .engine
                    .decompress_vec(&part[read..], &mut self.out, FlushDecompress::Sync)
                    .map_err(|_| InflateError::Malformed)?;
                let read_now = usize::try_from(self.engine.total_in() - before)
                    .map_err(|_| InflateError::Malformed)?;
                let stuck = read_now == read && self.out.len() == written;
                match status {
                    // A final block may end a message (RFC 7692 section 7.2.3.4); nothing may follow it.
                    Status::StreamEnd => return self.whole(bytes_max),
                    Status::Ok | Status::BufError
                        if stuck
                            || read_now == part.len() && self.out.len() < self.out.capacity() =>
                    {
                        break;
                    }
                    Status::Ok | Status::BufError => {}
                }
            }
        }
        self.whole(bytes_max)
    }

    fn whole(&self, bytes_max: usize) -> Result<&[u8], InflateError> {
        if self.out.len() > bytes_max {
            return Err(InflateError::TooLong);
        }
        Ok(&self.out)
    }
}

/// Compresses what a shard sends.
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
    /// Appends the compressed message to `into` and says so, or leaves `into` alone when that would not be shorter.
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

    /// Appends `data` as blocks that end at a byte's border and refer to nothing before them, so that blocks of
    /// several sources can be put one behind the other.
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

    /// A blob's compressed form, to be put between other parts by [`spliced`]. `None` when it would not be shorter.
    #[must_use]
    pub fn blob(&mut self, data: &[u8]) -> Option<Box<[u8]>> {
        let mut blocks = Vec::new();
        (data.len() >= COMPRESS_BYTES_MIN
            && self.block(data, &mut blocks)
            && blocks.len() < data.len())
        .then(|| blocks.into_boxed_slice())
    }
}

/// Appends the message `head`, blob, `tail` where the blob is compressed already: the other parts go as stored
/// blocks, which costs nothing per viewer.
pub fn spliced(head: &[u8], blob: &[u8], tail: &[u8], into: &mut Vec<u8>) {
    stored(head, into);
    into.extend_from_slice(blob);
    stored(tail, into);
    // An empty stored block, but for its last four bytes, which the receiver adds.
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
    fn offers() {
        assert!(acceptable("permessage-deflate; client_max_window_bits"));
        assert!(acceptable(
            "x-other, permessage-deflate;client_max_window_bits=10;server_no_context_takeover"
        ));
        assert!(acceptable(
            "permessage-deflate; server_max_window_bits=10, permessage-deflate"
        ));
        assert!(!acceptable("permessage-deflate; server_max_window_bits=10"));
        assert!(!acceptable("permessage-bzip2"));
        assert!(!acceptable(""));
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
