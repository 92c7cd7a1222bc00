//! The little of RFC 6455 that a load generator and a bare server need.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
/// The mask of every client frame here: masking must happen, what it hides is of no interest on the loopback.
pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) opcode: u8,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) head_len: usize,
    pub(crate) payload_len: usize,
}

impl Head {
    /// Reads the head of a frame; `None` while bytes are missing.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (payload_len, mut head_len) = match second & 0x7f {
            126 => (u16::from_be_bytes(*bytes[2..].first_chunk()?).into(), 4),
            127 => (u64::from_be_bytes(*bytes[2..].first_chunk()?) as usize, 10),
            short => (short.into(), 2),
        };
        let mut mask = None;
        if second & 0x80 != 0 {
            mask = Some(*bytes.get(head_len..)?.first_chunk()?);
            head_len += 4;
        }
        Some(Self {
            opcode: first & 0x0f,
            mask,
            head_len,
            payload_len,
        })
    }

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
    let head_len = frame.len();
    frame.extend_from_slice(payload);
    unmask(&mut frame[head_len..], MASK);
    frame
}

pub(crate) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let half = u64::from(u32::from_ne_bytes(mask));
    let wide = half << 32 | half;
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
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

pub(crate) fn upgrade_request(path: &str, host: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let headers = headers.iter();
    let headers: String = headers
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    );
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
            let masked = frame[head.head_len..].iter().zip(MASK.iter().cycle());
            assert!(
                masked
                    .map(|(byte, mask)| byte ^ mask)
                    .eq(payload.iter().copied())
            );
            unmask(&mut frame[head.head_len..], head.mask.expect("masked"));
            assert_eq!(&frame[head.head_len..], &payload[..]);
            for cut in 0..head.head_len {
                assert_eq!(Head::read(&frame[..cut]), None);
            }
            let served = server_frame(TEXT, &payload);
            let head = Head::read(&served).expect("whole");
            assert_eq!(head.len(), served.len());
        }
    }
}
