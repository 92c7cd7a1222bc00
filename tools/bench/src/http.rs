//! One HTTP request at a time, blocking: tokens, readiness, metrics.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::StreamOwned;

use crate::load::dialect::Tls;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Asks and returns the body of a successful answer.
pub(crate) fn ask(
    addr: SocketAddr,
    tls: Option<&Tls>,
    method: &str,
    path: &str,
    body: &str,
) -> Result<String> {
    let mut socket = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    if let Some(tls) = tls {
        let mut stream = StreamOwned::new(tls.connection()?, socket);
        stream.write_all(request.as_bytes())?;
        // A peer that closes without the TLS goodbye has still answered.
        let _ = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
    } else {
        socket.write_all(request.as_bytes())?;
        socket.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    }
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").context("no HTTP answer")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let body = answer.split_off(end + 4);
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
    fn chunks_are_put_together_and_a_cut_one_ends_it() {
        assert_eq!(
            unchunk(b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"),
            b"hello world"
        );
        assert_eq!(unchunk(b"5\r\nhel"), b"hel");
    }
}
