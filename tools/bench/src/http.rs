//! One HTTP request at a time, blocking: tokens, readiness, metrics.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::StreamOwned;

use crate::load::dialect::Tls;

/// The longest connecting, one read or one write may take.
const WAIT_MAX: Duration = Duration::from_secs(10);

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Asks and returns the body of a successful answer.
pub(crate) fn ask(
    addr: SocketAddr,
    tls: Option<&Tls>,
    method: &str,
    path: &str,
    body: &str,
) -> Result<String> {
    let socket = TcpStream::connect_timeout(&addr, WAIT_MAX)?;
    // Over TLS the request follows the end of the handshake, and would wait for its acknowledgement.
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(WAIT_MAX))?;
    socket.set_write_timeout(Some(WAIT_MAX))?;
    let mut stream: Box<dyn Stream> = match tls {
        Some(tls) => Box::new(StreamOwned::new(tls.connection()?, socket)),
        None => Box::new(socket),
    };
    // Whoever speaks HTTP/1.0 is not answered in chunks.
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {addr}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let answer = read_answer(&mut stream)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split_ascii_whitespace().nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        bail!("{method} {path}: {status} {body:.200}");
    }
    Ok(body.to_owned())
}

/// Reads to the end of the body where its length is told, else to the end of the connection: servers may take their
/// time to close it.
fn read_answer(stream: &mut dyn Read) -> Result<String> {
    let mut answer = Vec::new();
    let mut buffer = [0; 16_384];
    while told_len(&answer).is_none_or(|whole| answer.len() < whole) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&buffer[..len]),
            // A peer that closes without the TLS goodbye has still answered.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Bytes of head and body, once the head is there and tells the body's.
fn told_len(answer: &[u8]) -> Option<usize> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let told = name.eq_ignore_ascii_case("content-length");
        told.then(|| Some(end + value.trim().parse::<usize>().ok()?))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_told_length_is_not_waited_beyond() {
        assert_eq!(told_len(b"HTTP/1.1 200 OK\r\nContent-Le"), None);
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel";
        assert_eq!(told_len(head), Some(head.len() + 2));
        let mut source: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert!(read_answer(&mut source).expect("read").ends_with("ok"));
    }
}
