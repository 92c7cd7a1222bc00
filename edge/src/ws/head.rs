//! Parsing of a request's head (RFC 9112).
//!
//! A shard parses the first head of a connection and the HTTP server the later ones. Both use this parser, so that they
//! never understand the same bytes differently.

use httparse::Header;

/// Bytes of a head; a longer one is answered 431.
pub const HEAD_BYTES_MAX: usize = 32 << 10;
/// Header fields of a head; more are answered 431.
pub const HEADERS_MAX: usize = 128;

/// Storage for the fields of a head.
pub type Fields<'b> = [Header<'b>; HEADERS_MAX];
/// Empty storage for fields.
pub const NO_FIELDS: Fields<'static> = [httparse::EMPTY_HEADER; HEADERS_MAX];

/// A head that obeys the rules for all requests.
#[derive(Debug)]
pub struct Head<'h, 'b> {
    /// The method, case-sensitive.
    pub method: &'b str,
    /// The path of the target, percent-encoded as received: not empty, or `*`.
    pub path: &'b str,
    /// The target's query, without the `?`.
    pub query: Option<&'b str>,
    /// The version is HTTP/1.1; otherwise 1.0.
    pub is_1_1: bool,
    /// The fields in order of reception.
    pub fields: &'h [Header<'b>],
    /// How the body ends.
    pub framing: Framing,
    /// Bytes of the head.
    pub bytes: usize,
}

/// How the end of a body is found (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Not HTTP/1, or contradictory fields.
    Malformed,
    /// Not exactly one valid `Host` (RFC 9112 section 3.2).
    Host,
    /// A transfer coding other than `chunked`.
    Coding,
    /// More than [`HEAD_BYTES_MAX`] or [`HEADERS_MAX`].
    TooLarge,
}

/// Parses the head at the beginning of `bytes`; `None` when it is incomplete.
///
/// # Errors
/// Why the head is refused.
pub fn parse<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut Fields<'b>,
) -> Result<Option<Head<'h, 'b>>, Flaw> {
    let mut request = httparse::Request::new(room);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Flaw::TooLarge),
        Err(_) => return Err(Flaw::Malformed),
    };
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(Flaw::Malformed);
    };
    let fields: &'h [Header<'b>] = request.headers;
    let is_1_1 = version == 1;
    let (path, query) = split_target(method, target).ok_or(Flaw::Malformed)?;
    let mut head = Head {
        method,
        path,
        query,
        is_1_1,
        fields,
        framing: Framing::Length(0),
        bytes: length,
    };
    let hosts = {
        let mut hosts = head.values("host");
        (hosts.next(), hosts.next())
    };
    match hosts {
        (None, None) if !is_1_1 => {}
        (Some(host), None) if is_host(host) => {}
        _ => return Err(Flaw::Host),
    }
    // The identity must not depend on which of two fields a reader uses.
    if head.values("authorization").count() > 1 {
        return Err(Flaw::Malformed);
    }
    head.framing = head.body()?;
    Ok(Some(head))
}

impl<'b> Head<'_, 'b> {
    /// The values of all fields with this name.
    pub fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + use<'_, 'b, 'n> {
        self.fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }

    /// Whether a list field has this token, in any of the fields with this name; case does not matter.
    #[must_use]
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// How the body ends (RFC 9112 section 6.3). Whatever another parser might understand differently is refused.
    fn body(&self) -> Result<Framing, Flaw> {
        let mut lengths = self.values("content-length");
        let mut codings = self.values("transfer-encoding");
        let (length, coding) = (lengths.next(), codings.next());
        if lengths.next().is_some() || codings.next().is_some() {
            return Err(Flaw::Malformed);
        }
        match (length, coding) {
            (None, None) => Ok(Framing::Length(0)),
            (Some(digits), None) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
                let digits = std::str::from_utf8(digits).map_err(|_| Flaw::Malformed)?;
                digits
                    .parse()
                    .map(Framing::Length)
                    .map_err(|_| Flaw::Malformed)
            }
            (None, Some(coding)) if self.is_1_1 => {
                if coding.eq_ignore_ascii_case(b"chunked") {
                    Ok(Framing::Chunked)
                } else {
                    Err(Flaw::Coding)
                }
            }
            _ => Err(Flaw::Malformed),
        }
    }
}

/// Splits a target in origin form, absolute form or `*` into path and query (RFC 9112 section 3.2).
fn split_target<'b>(method: &str, target: &'b str) -> Option<(&'b str, Option<&'b str>)> {
    if target == "*" {
        return (method == "OPTIONS").then_some((target, None));
    }
    let local = if target.starts_with('/') {
        target
    } else {
        let (scheme, rest) = target.split_once("://")?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !is_scheme || !is_host(authority.as_bytes()) {
            return None;
        }
        local
    };
    let (path, query) = match local.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (local, None),
    };
    Some((if path.is_empty() { "/" } else { path }, query))
}

/// Whether a value is `uri-host [ ":" port ]` (RFC 9110 section 7.2) with a non-empty host.
fn is_host(value: &[u8]) -> bool {
    let (is_name, port) = if let Some(literal) = value.strip_prefix(b"[") {
        let Some(end) = literal.iter().position(|byte| *byte == b']') else {
            return false;
        };
        let inner = &literal[..end];
        let of_address = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
        (
            inner.len() > 1 && inner.iter().all(of_address),
            &literal[end + 1..],
        )
    } else {
        let end = value.iter().position(|byte| *byte == b':');
        let (name, port) = value.split_at(end.unwrap_or(value.len()));
        let of_name =
            |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
        (!name.is_empty() && name.iter().all(of_name), port)
    };
    let is_port = port.is_empty()
        || port.len() <= 6 && port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit);
    is_name && is_port
}

#[cfg(test)]
mod tests;
