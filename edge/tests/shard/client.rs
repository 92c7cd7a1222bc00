//! A WebSocket client that can also send invalid frames.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use chorus_edge::ws::deflate::Inflater;

/// Timeout of a read.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame of the server, or the end of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Close(u16),
    /// The connection ended, with or without a reset.
    End,
}

/// A client on any byte stream.
pub(crate) struct Client<S> {
    pub(crate) socket: S,
    buffer: Vec<u8>,
    /// Number of compressed frames received.
    pub(crate) compressed: usize,
    pub(crate) answer: String,
}

pub(crate) fn text(text: &str) -> Got {
    Got::Text(text.to_owned())
}

/// A masked frame with this first byte.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[9, 8, 7, 6]);
    bytes.extend(
        payload
            .iter()
            .zip([9, 8, 7, 6].iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Opens a WebSocket with the JSON encoding.
pub(crate) fn open(address: SocketAddr) -> Client<TcpStream> {
    Client::upgrade(connect(address), "")
}

impl<S: Read + Write> Client<S> {
    /// Does the handshake with these additional header fields.
    pub(crate) fn upgrade(mut socket: S, headers: &str) -> Self {
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        socket.write_all(request.as_bytes()).unwrap();
        let mut client = Self {
            socket,
            buffer: Vec::new(),
            compressed: 0,
            answer: String::new(),
        };
        loop {
            if let Some(end) = client
                .buffer
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                client.answer =
                    String::from_utf8(client.buffer.drain(..end + 4).collect()).unwrap();
                assert!(
                    client.answer.starts_with("HTTP/1.1 101 "),
                    "{}",
                    client.answer
                );
                return client;
            }
            assert!(client.fill(), "the connection ended in the handshake");
        }
    }

    fn fill(&mut self) -> bool {
        let mut bytes = [0; 16 << 10];
        match self.socket.read(&mut bytes) {
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                count > 0
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                panic!("nothing came")
            }
            Err(_) => false,
        }
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.raw(&frame(0x81, text.as_bytes()));
    }

    /// Reads the next frame.
    pub(crate) fn next(&mut self) -> Got {
        loop {
            if let Some(got) = self.parse() {
                return got;
            }
            if !self.fill() {
                assert!(
                    self.buffer.is_empty(),
                    "the socket ended within a frame: {:02x?}",
                    &self.buffer
                );
                return Got::End;
            }
        }
    }

    /// Reads the next frame, skipping pings.
    pub(crate) fn word(&mut self) -> Got {
        loop {
            let got = self.next();
            if got != Got::Ping {
                return got;
            }
        }
    }

    fn parse(&mut self) -> Option<Got> {
        let (first, second) = (*self.buffer.first()?, *self.buffer.get(1)?);
        assert_eq!(second & 0x80, 0, "a server's frame has no mask");
        assert_eq!(first & 0x80, 0x80, "this server does not fragment");
        let (length, start) = match second {
            126 => (
                usize::from(u16::from_be_bytes([
                    *self.buffer.get(2)?,
                    *self.buffer.get(3)?,
                ])),
                4,
            ),
            127 => (
                usize::try_from(u64::from_be_bytes(
                    self.buffer.get(2..10)?.try_into().unwrap(),
                ))
                .unwrap(),
                10,
            ),
            short => (usize::from(short), 2),
        };
        self.buffer.get(start..start + length)?;
        let mut payload: Vec<u8> = self.buffer.drain(..start + length).skip(start).collect();
        if first & 0x40 != 0 {
            self.compressed += 1;
            payload = Inflater::default()
                .inflate(&payload, 16 << 20)
                .unwrap()
                .to_vec();
        }
        Some(match first & 0x0f {
            1 => Got::Text(String::from_utf8(payload).unwrap()),
            2 => Got::Binary(payload),
            8 => Got::Close(u16::from_be_bytes([payload[0], payload[1]])),
            9 => Got::Ping,
            10 => Got::Pong(payload),
            other => panic!("opcode {other}"),
        })
    }
}
