//! The head of a request (RFC 9112), as functions on bytes.
//!
//! A shard reads the first head of a connection and the HTTP server the later ones: both by this reader, so that no
//! request means one thing to the one and another to the other.

use httparse::Header;

/// Bytes of a head; a longer one is answered 431.
pub const HEAD_BYTES_MAX: usize = 32 << 10;
/// Header fields of a head; more are answered 431.
pub const HEADERS_MAX: usize = 128;

/// Room for a head's fields.
pub type Fields<'b> = [Header<'b>; HEADERS_MAX];
/// An empty one.
pub const NO_FIELDS: Fields<'static> = [httparse::EMPTY_HEADER; HEADERS_MAX];

/// A head that keeps the rules that every request has to keep.
#[derive(Debug)]
pub struct Head<'h, 'b> {
    /// The method, in its case.
    pub method: &'b str,
    /// The path of the target, encoded as it came: `/` at least, or `*`.
    pub path: &'b str,
    /// What follows the target's `?`.
    pub query: Option<&'b str>,
    /// HTTP/1.1; else 1.0.
    pub is_1_1: bool,
    /// The fields in their order.
    pub fields: &'h [Header<'b>],
    /// How long the body is.
    pub framing: Framing,
    /// Bytes of the head; the body follows.
    pub bytes: usize,
}

/// How a body ends (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With its last chunk.
    Chunked,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No HTTP/1, or a field that says two things.
    Malformed,
    /// No `Host`, two, or what is none (RFC 9112 section 3.2).
    Host,
    /// A transfer coding other than `chunked`.
    Coding,
    /// Over [`HEAD_BYTES_MAX`] or [`HEADERS_MAX`].
    TooLarge,
}

/// Reads the head at the beginning of `bytes`; `None` when it is not whole yet.
///
/// # Errors
/// When no request can begin so.
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
    // Whose request it is must not depend on which of two fields a reader prefers.
    if head.values("authorization").count() > 1 {
        return Err(Flaw::Malformed);
    }
    head.framing = head.body()?;
    Ok(Some(head))
}

impl<'b> Head<'_, 'b> {
    /// The values of a field, one for each line of it.
    pub fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + use<'_, 'b, 'n> {
        self.fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }

    /// Whether a field that is a list has this token, on whichever of its lines.
    #[must_use]
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// RFC 9112 section 6.3, refusing whatever another reader might read differently.
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

/// Path and query of a target: in origin form, in absolute form, or `*` (RFC 9112 section 3.2).
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

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2) of a scheme whose host cannot be empty.
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
