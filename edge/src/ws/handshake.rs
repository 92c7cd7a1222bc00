//! The opening handshake (RFC 6455 section 4.2): which requests become WebSockets, and what the others are told.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chorus_protocol::Encoding;
use sha1::{Digest, Sha1};

use super::offer::{self, Offer};

/// Bytes of a request's head; a longer one is answered 431.
pub const HEAD_BYTES_MAX: usize = 8 << 10;
/// Header fields of a request; more are answered 431.
const HEADERS_MAX: usize = 64;
/// Bytes of a token; a longer one cannot be valid and is cut, so that it is refused as a bad token.
const TOKEN_BYTES_MAX: usize = HEAD_BYTES_MAX;
/// The one path that is a WebSocket.
pub const PATH: &str = "/v1/ws";

/// What is to be done with the bytes read so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The head is not whole yet.
    Incomplete,
    /// Not for the WebSocket path (or not even HTTP): another server's business, with all bytes.
    Other,
    /// Answer and end.
    Refuse(Refusal),
    /// Answer [`Upgrade::write_answer`] and begin.
    Upgrade(Upgrade),
}

/// A viewer's wish that can be met.
#[derive(Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The encoding asked for.
    pub encoding: Encoding,
    /// The subprotocol was named, so the answer names it.
    named: bool,
    /// `permessage-deflate` was offered in a form we take.
    pub deflate: bool,
    /// The token of the query or the `Authorization` header.
    pub token: Option<String>,
    offer: Option<Offer>,
    accept: String,
    /// Bytes of the head; what follows belongs to the WebSocket.
    pub head_bytes: usize,
}

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: no valid `Sec-WebSocket-Key`, or a head that is not HTTP.
    Malformed,
    /// 400: only subprotocols that we do not speak.
    Subprotocol,
    /// 403: a page of an origin that may not.
    Origin,
    /// 405: not a GET.
    Method,
    /// 426: no upgrade asked for, or another version than 13.
    NoUpgrade,
    /// 431: too long a head.
    TooLarge,
}

impl Refusal {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Malformed,
        Self::Subprotocol,
        Self::Origin,
        Self::Method,
        Self::NoUpgrade,
        Self::TooLarge,
    ];

    /// The label in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Subprotocol => "subprotocol",
            Self::Origin => "origin",
            Self::Method => "method",
            Self::NoUpgrade => "no_upgrade",
            Self::TooLarge => "head_too_large",
        }
    }

    fn parts(self) -> (u16, &'static str, &'static str, &'static str) {
        match self {
            Self::Malformed => (400, "Bad Request", "", "not a WebSocket handshake"),
            Self::Subprotocol => (
                400,
                "Bad Request",
                "",
                "none of the subprotocols is spoken here: chorus.v1.json, chorus.v1.msgpack",
            ),
            Self::Origin => (403, "Forbidden", "", "pages of this origin may not connect"),
            Self::Method => (405, "Method Not Allowed", "Allow: GET\r\n", "use GET"),
            Self::NoUpgrade => (
                426,
                "Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                "this path is a WebSocket of version 13",
            ),
            Self::TooLarge => (
                431,
                "Request Header Fields Too Large",
                "",
                "the request's head is too large",
            ),
        }
    }

    /// Appends the answer, after which the connection ends.
    pub fn write_answer(self, into: &mut Vec<u8>) {
        let (status, title, headers, detail) = self.parts();
        let body = format!(
            r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"}}"#
        );
        into.extend_from_slice(
            format!(
                "HTTP/1.1 {status} {title}\r\n{headers}Content-Type: application/problem+json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
    }
}

impl Upgrade {
    /// Appends the 101 answer.
    pub fn write_answer(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        into.extend_from_slice(self.accept.as_bytes());
        if self.named {
            into.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
            into.extend_from_slice(self.encoding.subprotocol().as_bytes());
        }
        if let Some(offer) = self.offer {
            into.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
            into.extend_from_slice(offer.answer().as_bytes());
        }
        into.extend_from_slice(b"\r\n\r\n");
    }
}

/// Which pages may connect: `None` is any. A request without `Origin` is no page's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(pub Option<Vec<String>>);

impl Origins {
    /// Whether a request with this `Origin` may go on.
    #[must_use]
    pub fn allow(&self, origin: Option<&str>) -> bool {
        match (&self.0, origin) {
            (None, _) | (_, None) => true,
            (Some(allowed), Some(origin)) => {
                allowed.iter().any(|one| one.eq_ignore_ascii_case(origin))
            }
        }
    }
}

/// Looks at the beginning of a connection.
#[must_use]
pub fn look(bytes: &[u8], origins: &Origins) -> Handshake {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(bytes);
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let ours = path == PATH;
    let head_bytes = match parsed {
        Ok(httparse::Status::Complete(head_bytes)) if head_bytes <= HEAD_BYTES_MAX => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => {
            return Handshake::Incomplete;
        }
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Handshake::Refuse(Refusal::TooLarge);
        }
        Err(_) => return Handshake::Refuse(Refusal::Malformed),
    };
    if !ours {
        return Handshake::Other;
    }
    if request.method != Some("GET") {
        return Handshake::Refuse(Refusal::Method);
    }
    let fields = Fields::of(request.headers);
    if !fields.upgrade
        || !fields.connection
        || fields.version != Some("13")
        || request.version != Some(1)
    {
        return Handshake::Refuse(Refusal::NoUpgrade);
    }
    let Some(key) = fields
        .key
        .filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16))
    else {
        return Handshake::Refuse(Refusal::Malformed);
    };
    if !origins.allow(fields.origin) {
        return Handshake::Refuse(Refusal::Origin);
    }
    let (encoding, named) = match fields.subprotocol() {
        Ok(Some(encoding)) => (encoding, true),
        Ok(None) => (Encoding::Json, false),
        Err(()) => return Handshake::Refuse(Refusal::Subprotocol),
    };
    Handshake::Upgrade(Upgrade {
        encoding,
        named,
        deflate: fields.deflate.is_some(),
        offer: fields.deflate,
        token: token_of(query).or_else(|| fields.bearer.map(str::to_owned)),
        accept: accept(key),
        head_bytes,
    })
}

/// The header fields that matter here.
#[derive(Default)]
struct Fields<'a> {
    upgrade: bool,
    connection: bool,
    version: Option<&'a str>,
    key: Option<&'a str>,
    origin: Option<&'a str>,
    bearer: Option<&'a str>,
    deflate: Option<Offer>,
    offered: bool,
    chosen: Option<Encoding>,
}

impl<'a> Fields<'a> {
    fn of(headers: &[httparse::Header<'a>]) -> Self {
        let mut fields = Self::default();
        for header in headers {
            let Ok(value) = std::str::from_utf8(header.value) else {
                continue;
            };
            let value = value.trim();
            let mut list = value.split(',').map(str::trim);
            let name = header.name;
            if name.eq_ignore_ascii_case("upgrade") {
                fields.upgrade |= list.any(|item| item.eq_ignore_ascii_case("websocket"));
            } else if name.eq_ignore_ascii_case("connection") {
                fields.connection |= list.any(|item| item.eq_ignore_ascii_case("upgrade"));
            } else if name.eq_ignore_ascii_case("sec-websocket-version") {
                fields.version = Some(value);
            } else if name.eq_ignore_ascii_case("sec-websocket-key") {
                fields.key = Some(value);
            } else if name.eq_ignore_ascii_case("sec-websocket-extensions") {
                fields.deflate = fields.deflate.or_else(|| offer::take(value));
            } else if name.eq_ignore_ascii_case("sec-websocket-protocol") {
                fields.offered = true;
                // The first offer that we speak: the client names them in the order of its preference.
                let chosen = list.find_map(|item| {
                    Encoding::ALL
                        .into_iter()
                        .find(|encoding| encoding.subprotocol() == item)
                });
                fields.chosen = fields.chosen.or(chosen);
            } else if name.eq_ignore_ascii_case("origin") {
                fields.origin = Some(value);
            } else if name.eq_ignore_ascii_case("authorization") {
                fields.bearer = value
                    .split_once(' ')
                    .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                    .map(|(_, token)| token.trim());
            }
        }
        fields
    }

    fn subprotocol(&self) -> Result<Option<Encoding>, ()> {
        match (self.offered, self.chosen) {
            (true, None) => Err(()),
            (_, chosen) => Ok(chosen),
        }
    }
}

/// `token=` of a query, percent-decoded. What cannot be decoded stays as it is and is then a bad token.
fn token_of(query: &str) -> Option<String> {
    let raw = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))?;
    let bytes = raw.as_bytes();
    let mut token = Vec::with_capacity(bytes.len().min(TOKEN_BYTES_MAX));
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let escaped = (byte == b'%')
            .then(|| raw.get(index + 1..index + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        token.push(escaped.unwrap_or(byte));
        index += if escaped.is_some() { 3 } else { 1 };
    }
    Some(String::from_utf8_lossy(&token).into_owned())
}

fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests;
