//! A WebSocket client that can send invalid frames.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The opcodes of RFC 6455, section 5.2.
pub mod opcode {
    /// A continuation of a message.
    pub const CONTINUATION: u8 = 0;
    /// A text message.
    pub const TEXT: u8 = 1;
    /// A binary message.
    pub const BINARY: u8 = 2;
    /// A close frame.
    pub const CLOSE: u8 = 8;
    /// A ping.
    pub const PING: u8 = 9;
    /// A pong.
    pub const PONG: u8 = 10;
}

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The `Sec-WebSocket-Key` of all handshakes; any valid one works.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame from the server, or the end of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text or binary message.
    Data(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame with its code.
    Close(u16),
    /// The end of the connection without a close frame.
    Gone,
}

/// An upgraded connection.
pub struct Raw {
    tcp: TcpStream,
}

impl Raw {
    /// Connects and upgrades with a subprotocol.
    ///
    /// # Errors
    /// When the upgrade is refused.
    pub async fn open(address: SocketAddr, subprotocol: &str, query: &str) -> Result<Self> {
        let mut tcp = TcpStream::connect(address)
            .await
            .context("cannot connect")?;
        let request = format!(
            "GET /v1/ws{query} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        );
        tcp.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if tcp.read(&mut byte).await? == 0 {
                bail!(
                    "closed during the upgrade: {}",
                    String::from_utf8_lossy(&head)
                );
            }
            head.extend_from_slice(&byte);
        }
        let head = String::from_utf8_lossy(&head);
        // The accept value for the key above (RFC 6455, section 1.3).
        if !head.starts_with("HTTP/1.1 101") || !head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
            bail!("not upgraded: {head}");
        }
        Ok(Self { tcp })
    }

    /// Sends bytes without framing.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.tcp.write_all(bytes).await?)
    }

    /// Sends one complete masked frame.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn frame(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        self.bytes(&frame(FIN | opcode, true, payload)).await
    }

    /// Sends a masked frame that is not the last of its message.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn part(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        self.bytes(&frame(opcode, true, payload)).await
    }

    /// Sends one complete frame without a mask.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn unmasked(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        self.bytes(&frame(FIN | opcode, false, payload)).await
    }

    /// Waits for the next frame; pings are skipped.
    ///
    /// # Errors
    /// When no frame comes within the time.
    pub async fn next(&mut self, within: Duration) -> Result<Frame> {
        timeout(within, self.read()).await.context("no frame came")
    }

    /// Skips messages until the connection ends; returns the close code, `None` when there is none.
    ///
    /// # Errors
    /// When it does not end within the time.
    pub async fn close_code(&mut self, within: Duration) -> Result<Option<u16>> {
        let end = async {
            loop {
                match self.read().await {
                    Frame::Close(code) => return Some(code),
                    Frame::Gone => return None,
                    Frame::Data(_) | Frame::Pong(_) => {}
                }
            }
        };
        timeout(within, end)
            .await
            .context("the connection was not closed")
    }

    async fn read(&mut self) -> Frame {
        loop {
            match self.read_frame().await {
                Ok((opcode::CLOSE, payload)) => {
                    let code = payload
                        .get(..2)
                        .map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                    return Frame::Close(code);
                }
                Ok((opcode::PONG, payload)) => return Frame::Pong(payload),
                Ok((opcode::PING, _)) => {}
                Ok((_, payload)) => return Frame::Data(payload),
                Err(_) => return Frame::Gone,
            }
        }
    }

    async fn read_frame(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.tcp.read_exact(&mut head).await?;
        let length = match head[1] & 0x7f {
            126 => u64::from(self.tcp.read_u16().await?),
            127 => self.tcp.read_u64().await?,
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length)?];
        self.tcp.read_exact(&mut payload).await?;
        Ok((head[0] & 0x0f, payload))
    }
}

/// The bytes of a frame with this first byte.
#[must_use]
pub fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let mask_bit = if masked { MASKED } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(mask_bit | short as u8),
        medium @ 126..=65_535 => {
            bytes.push(mask_bit | 126);
            bytes.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(mask_bit | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    if masked {
        bytes.extend_from_slice(&MASK);
        bytes.extend(
            payload
                .iter()
                .zip(MASK.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
    } else {
        bytes.extend_from_slice(payload);
    }
    bytes
}
