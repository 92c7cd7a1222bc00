//! The little of RFC 6455 that a load generator and a bare server need.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// A text message.
pub(crate) const TEXT: u8 = 1;
/// A binary message.
pub(crate) const BINARY: u8 = 2;
/// A close.
pub(crate) const CLOSE: u8 = 8;
/// A ping.
pub(crate) const PING: u8 = 9;
/// A pong.
pub(crate) const PONG: u8 = 10;
/// The mask of every client frame here: masking must happen, what it hides is of no interest on the loopback.
pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// What it is.
    pub(crate) opcode: u8,
    /// The client's mask.
    pub(crate) mask: Option<[u8; 4]>,
    /// Bytes of the head.
    pub(crate) head_len: usize,
    /// Bytes of the payload.
    pub(crate) payload_len: usize,
}

impl Head {
    /// Reads the head of a frame; `None` while bytes are missing.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (payload_len, mut at) = match second & 0x7f {
            126 => (
                usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
                4,
            ),
            127 => (
                u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize,
                10,
            ),
            short => (usize::from(short), 2),
        };
        let mask = if second & 0x80 == 0 {
            None
        } else {
            let mask = bytes.get(at..at + 4)?.try_into().ok()?;
            at += 4;
            Some(mask)
        };
        Some(Self {
            opcode: first & 0x0f,
            mask,
            head_len: at,
            payload_len,
        })
    }

    /// Bytes of the whole frame.
    pub(crate) fn len(&self) -> usize {
        self.head_len.saturating_add(self.payload_len)
    }
}

fn push_head(frame: &mut Vec<u8>, opcode: u8, len: usize, mask_bit: u8) {
    frame.push(0x80 | opcode);
    if len < 126 {
        frame.push(mask_bit | len as u8);
    } else if let Ok(short) = u16::try_from(len) {
        frame.push(mask_bit | 126);
        frame.extend_from_slice(&short.to_be_bytes());
    } else {
        frame.push(mask_bit | 127);
        frame.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

/// A frame as a server sends it.
pub(crate) fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    push_head(&mut frame, opcode, payload.len(), 0);
    frame.extend_from_slice(payload);
    frame
}

/// A frame as a client sends it.
pub(crate) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    push_head(&mut frame, opcode, payload.len(), 0x80);
    frame.extend_from_slice(&MASK);
    frame.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// Takes the mask off, in place.
pub(crate) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(word) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
        }
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// What a server answers to a `Sec-WebSocket-Key`.
pub(crate) fn accept_key(key: &[u8]) -> String {
    let mut sha = Sha1::new();
    sha.update(key);
    sha.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(sha.finalize())
}

/// A client's request to upgrade.
pub(crate) fn upgrade_request(path: &str, host: &str, headers: &[(String, String)]) -> Vec<u8> {
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_key_is_the_rfc_example() {
        assert_eq!(
            accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn frames_are_read_back_at_every_length() {
        for len in [0, 1, 7, 125, 126, 200, 65_535, 65_536] {
            let payload: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            let mut frame = client_frame(BINARY, &payload);
            let head = Head::read(&frame).expect("whole");
            assert_eq!(
                (head.opcode, head.payload_len, head.len()),
                (BINARY, len, frame.len())
            );
            unmask(&mut frame[head.head_len..], head.mask.expect("masked"));
            assert_eq!(&frame[head.head_len..], &payload[..]);
            for cut in 0..head.head_len {
                assert_eq!(Head::read(&frame[..cut]), None);
            }
            let served = server_frame(TEXT, &payload);
            assert_eq!(
                Head::read(&served).map(|head| head.len()),
                Some(served.len())
            );
        }
    }
}
