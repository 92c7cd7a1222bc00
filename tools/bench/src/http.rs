//! One HTTP request at a time, blocking: tokens, readiness, metrics.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::StreamOwned;

use crate::load::dialect::Tls;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// The longest one read or write may take.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Asks and returns the body of a successful answer.
pub(crate) fn ask(
    addr: SocketAddr,
    tls: Option<&Tls>,
    method: &str,
    path: &str,
    body: &str,
) -> Result<String> {
    let mut socket = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
    // Over TLS the request follows the end of the handshake, and would wait for its acknowledgement.
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(WAIT_MAX))?;
    socket.set_write_timeout(Some(WAIT_MAX))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = if let Some(tls) = tls {
        let mut stream = StreamOwned::new(tls.connection()?, socket);
        stream.write_all(request.as_bytes())?;
        read_answer(&mut stream)?
    } else {
        socket.write_all(request.as_bytes())?;
        read_answer(&mut socket)?
    };
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").context("no HTTP answer")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let body = answer[end + 4..].to_vec();
    let body = if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        unchunk(&body)
    } else {
        body
    };
    let text = String::from_utf8_lossy(&body).into_owned();
    let status = head.split_ascii_whitespace().nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        bail!(
            "{method} {path}: {status} {}",
            text.chars().take(200).collect::<String>()
        );
    }
    Ok(text)
}

/// Reads to the end of the body where its length is told, else to the end of the connection: servers may take their
/// time to close it.
fn read_answer(stream: &mut dyn Read) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut buffer = [0; 16_384];
    let mut whole = None;
    while (answer.len() as u64) < whole.unwrap_or(ANSWER_BYTES_MAX) {
        let len = match stream.read(&mut buffer) {
            Ok(len) => len,
            // A peer that closes without the TLS goodbye has still answered.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error.into()),
        };
        if len == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..len]);
        if whole.is_none() {
            whole = told_len(&answer);
        }
    }
    Ok(answer)
}

/// Bytes of head and body, once the head is there and tells the body's.
fn told_len(answer: &[u8]) -> Option<u64> {
    let end = memchr::memmem::find(answer, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let body: u64 = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.eq_ignore_ascii_case("content-length"))
            .then(|| value.trim().parse().ok())
            .flatten()
    })?;
    Some(end as u64 + 4 + body)
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = memchr::memmem::find(bytes, b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|line| {
            usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).ok()
        });
        let (Some(size), Some(rest)) = (size, bytes.get(end + 2..)) else {
            break;
        };
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&rest[..size.min(rest.len())]);
        bytes = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_told_length_is_not_waited_beyond() {
        assert_eq!(told_len(b"HTTP/1.1 200 OK\r\nContent-Le"), None);
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel";
        assert_eq!(told_len(head), Some(head.len() as u64 + 2));
        let mut source: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert!(read_answer(&mut source).expect("read").ends_with(b"ok"));
    }

    #[test]
    fn chunks_are_put_together_and_a_cut_one_ends_it() {
        assert_eq!(
            unchunk(b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"),
            b"hello world"
        );
        assert_eq!(unchunk(b"5\r\nhel"), b"hel");
    }
}
