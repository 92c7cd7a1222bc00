//! The opening handshake (RFC 6455 section 4.2): which requests become WebSockets, and how others are answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chorus_protocol::Encoding;
use chorus_protocol::codes::ErrorCode;
use sha1::{Digest, Sha1};

use super::head::{self, Flaw, Framing, HEAD_BYTES_MAX, Head};
use super::offer::{self, Offer};

/// Decodes `Sec-WebSocket-Key`. Some clients draw 22 random letters instead of 16 bytes, so the unused bits of the last
/// letter may have any value.
const KEY: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);
/// Bytes of a token for which memory is reserved.
const TOKEN_BYTES_MAX: usize = HEAD_BYTES_MAX;
/// The path of the WebSocket.
pub const PATH: &str = "/v1/ws";

/// What to do with a connection, by the bytes read so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Wait for more bytes: the head is incomplete.
    Incomplete,
    /// Hand the connection with all bytes to the HTTP server: the request is for another path.
    Other,
    /// Send [`Refusal::write_answer`] and close.
    Refuse {
        /// The reason.
        why: Refusal,
        /// The request is a HEAD, so the answer has no body.
        head_only: bool,
    },
    /// Send [`Upgrade::write_answer`] and start the WebSocket.
    Upgrade(Upgrade),
}

/// A valid handshake and the options chosen for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The requested encoding.
    pub encoding: Encoding,
    /// The client named a subprotocol, so the answer names it too.
    named: bool,
    /// An offer of `permessage-deflate` was accepted.
    pub deflate: bool,
    /// The token of the query or of the `Authorization` field.
    pub token: Option<String>,
    offer: Option<Offer>,
    accept: String,
    /// Bytes of the head; the following bytes are frames.
    pub head_bytes: usize,
}

/// Why a handshake is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: the head is not HTTP, or the request has a body.
    Malformed,
    /// 400: no valid `Host`.
    Host,
    /// 400: not exactly one valid `Sec-WebSocket-Key`.
    Key,
    /// 400: only unknown subprotocols are offered.
    Subprotocol,
    /// 403: pages of this origin may not connect.
    Origin,
    /// 405: not a GET.
    Method,
    /// 426: no upgrade is requested, or another version than 13.
    NoUpgrade,
    /// 431: the head is too long.
    TooLarge,
    /// 501: a transfer coding other than `chunked`.
    Coding,
    /// 503: the PoP drains.
    GoingAway,
}

/// The parts of a refusal's answer.
struct Text {
    status: u16,
    title: &'static str,
    headers: &'static str,
    code: ErrorCode,
    detail: &'static str,
}

impl Refusal {
    /// All reasons, in declaration order.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::Host,
        Self::Key,
        Self::Subprotocol,
        Self::Origin,
        Self::Method,
        Self::NoUpgrade,
        Self::TooLarge,
        Self::Coding,
        Self::GoingAway,
    ];

    /// The label in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Host => "host",
            Self::Key => "key",
            Self::Subprotocol => "subprotocol",
            Self::Origin => "origin",
            Self::Method => "method",
            Self::NoUpgrade => "no_upgrade",
            Self::TooLarge => "head_too_large",
            Self::Coding => "transfer_coding",
            Self::GoingAway => "going_away",
        }
    }

    fn text(self) -> Text {
        let (status, title, headers, code, detail) = match self {
            Self::Malformed => (
                400,
                "Bad Request",
                "",
                ErrorCode::InvalidMessage,
                "the request cannot be read",
            ),
            Self::Host => (
                400,
                "Bad Request",
                "",
                ErrorCode::InvalidMessage,
                "a request has one valid Host",
            ),
            Self::Key => (
                400,
                "Bad Request",
                "",
                ErrorCode::InvalidMessage,
                "a handshake has one Sec-WebSocket-Key: 16 bytes in base64",
            ),
            Self::Subprotocol => (
                400,
                "Bad Request",
                "",
                ErrorCode::InvalidMessage,
                "none of the subprotocols is spoken here: chorus.v1.json, chorus.v1.msgpack",
            ),
            Self::Origin => (
                403,
                "Forbidden",
                "",
                ErrorCode::Forbidden,
                "pages of this origin may not connect",
            ),
            Self::Method => (
                405,
                "Method Not Allowed",
                "Allow: GET\r\n",
                ErrorCode::MethodNotAllowed,
                "use GET",
            ),
            Self::NoUpgrade => (
                426,
                "Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                ErrorCode::InvalidMessage,
                "this path is a WebSocket of version 13",
            ),
            Self::TooLarge => (
                431,
                "Request Header Fields Too Large",
                "",
                ErrorCode::TooLarge,
                "the request's head is too large",
            ),
            Self::Coding => (
                501,
                "Not Implemented",
                "",
                ErrorCode::NotAvailable,
                "chunked is the only transfer coding here",
            ),
            // A client with another PoP to go to does not wait; this one may be back after a restart.
            Self::GoingAway => (
                503,
                "Service Unavailable",
                "Retry-After: 5\r\n",
                ErrorCode::Unavailable,
                "this PoP goes away: connect to another one",
            ),
        };
        Text {
            status,
            title,
            headers,
            code,
            detail,
        }
    }

    /// Appends the answer, after which the connection must be closed; `head_only`: without its body.
    pub fn write_answer(self, head_only: bool, into: &mut Vec<u8>) {
        let Text {
            status,
            title,
            headers,
            code,
            detail,
        } = self.text();
        let body = format!(
            r#"{{"type":"about:blank","title":"{title}","status":{status},"code":"{code}","detail":"{detail}"}}"#
        );
        // With 426 the `Connection` field names `Upgrade` too (RFC 9110 section 7.8).
        let connection = if headers.starts_with("Upgrade:") {
            "Upgrade, close"
        } else {
            "close"
        };
        into.extend_from_slice(
            format!(
                "HTTP/1.1 {status} {title}\r\n{headers}Content-Type: application/problem+json\r\n\
                 X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\
                 Content-Length: {}\r\nConnection: {connection}\r\n\r\n",
                body.len()
            )
            .as_bytes(),
        );
        if !head_only {
            into.extend_from_slice(body.as_bytes());
        }
    }
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Malformed => Self::Malformed,
            Flaw::Host => Self::Host,
            Flaw::Coding => Self::Coding,
            Flaw::TooLarge => Self::TooLarge,
        }
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

/// `Origin`s of pages that may connect; `None`: all. A request without `Origin` is not sent by a page and is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(pub Option<Vec<String>>);

/// The `Origin` is not allowed or invalid, or there is more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginRefused;

impl Origins {
    /// Checks the `Origin` fields of a request, for the WebSocket and for REST; returns the origin.
    ///
    /// # Errors
    /// When the request must be refused.
    pub fn judge<'a>(
        &self,
        mut fields: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<&'a str>, OriginRefused> {
        let Some(origin) = fields.next() else {
            return Ok(None);
        };
        let origin = std::str::from_utf8(origin).map_err(|_| OriginRefused)?;
        let readable = !origin.is_empty() && origin.bytes().all(|byte| byte.is_ascii_graphic());
        let allowed = match &self.0 {
            None => true,
            Some(allowed) => allowed.iter().any(|one| one.eq_ignore_ascii_case(origin)),
        };
        if readable && allowed && fields.next().is_none() {
            Ok(Some(origin))
        } else {
            Err(OriginRefused)
        }
    }
}

/// Checks the bytes at the beginning of a request.
#[must_use]
pub fn look(bytes: &[u8], origins: &Origins) -> Handshake {
    let mut room = head::NO_FIELDS;
    let refused = match head::parse(bytes, &mut room) {
        Ok(None) => return Handshake::Incomplete,
        Ok(Some(head)) if head.path != PATH => return Handshake::Other,
        Ok(Some(head)) => match upgrade(&head, origins) {
            Ok(upgrade) => return Handshake::Upgrade(upgrade),
            Err(refusal) => refusal,
        },
        Err(flaw) => flaw.into(),
    };
    Handshake::Refuse {
        why: refused,
        head_only: bytes.starts_with(b"HEAD "),
    }
}

/// Checks a request for the WebSocket's path (RFC 6455 section 4.2.1).
fn upgrade(head: &Head<'_, '_>, origins: &Origins) -> Result<Upgrade, Refusal> {
    if head.method != "GET" {
        return Err(Refusal::Method);
    }
    if head.framing != Framing::Length(0) {
        // The body's bytes would be read as frames.
        return Err(Refusal::Malformed);
    }
    let fields = Fields::of(head.fields);
    let mut versions = head.values("sec-websocket-version");
    if !head.lists("upgrade", "websocket")
        || !head.lists("connection", "upgrade")
        || versions.next() != Some(b"13")
        || versions.next().is_some()
        || !head.is_1_1
    {
        return Err(Refusal::NoUpgrade);
    }
    let mut keys = head.values("sec-websocket-key");
    let key = keys
        .next()
        .filter(|key| KEY.decode(key).is_ok_and(|bytes| bytes.len() == 16))
        .filter(|_| keys.next().is_none())
        .ok_or(Refusal::Key)?;
    origins
        .judge(head.values("origin"))
        .map_err(|OriginRefused| Refusal::Origin)?;
    let (encoding, named) = match fields.subprotocol() {
        Ok(Some(encoding)) => (encoding, true),
        Ok(None) => (Encoding::Json, false),
        Err(()) => return Err(Refusal::Subprotocol),
    };
    Ok(Upgrade {
        encoding,
        named,
        deflate: fields.deflate.is_some(),
        offer: fields.deflate,
        token: token_of(head.query.unwrap_or_default()).or(fields.bearer),
        accept: accept(key),
        head_bytes: head.bytes,
    })
}

/// The header fields that choose options.
#[derive(Default)]
struct Fields {
    bearer: Option<String>,
    deflate: Option<Offer>,
    offered: bool,
    chosen: Option<Encoding>,
}

impl Fields {
    fn of(headers: &[httparse::Header<'_>]) -> Self {
        let mut fields = Self::default();
        for header in headers {
            let name = header.name;
            if name.eq_ignore_ascii_case("authorization") {
                // A token that is not UTF-8 counts as a bad token, not as missing.
                fields.bearer = String::from_utf8_lossy(header.value)
                    .split_once(' ')
                    .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                    .map(|(_, token)| token.trim().to_owned());
                continue;
            }
            let Ok(value) = std::str::from_utf8(header.value) else {
                continue;
            };
            let value = value.trim();
            if name.eq_ignore_ascii_case("sec-websocket-extensions") {
                fields.deflate = fields.deflate.or_else(|| offer::accept(value));
            } else if name.eq_ignore_ascii_case("sec-websocket-protocol") {
                // An empty field offers nothing.
                let mut list = value.split(',').map(str::trim).filter(|it| !it.is_empty());
                fields.offered |= list.clone().next().is_some();
                // The first known one: clients name subprotocols in the order of their preference.
                let chosen = list.find_map(|item| {
                    Encoding::ALL
                        .into_iter()
                        .find(|encoding| encoding.subprotocol() == item)
                });
                fields.chosen = fields.chosen.or(chosen);
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

/// The `token=` parameter of a query, percent-decoded. Invalid escapes are kept, which makes it a bad token.
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

fn accept(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests;
