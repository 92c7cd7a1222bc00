//! Answers, their common header fields, and their encoding.

use std::time::SystemTime;

use bytes::Bytes;
use chorus_protocol::codes::ErrorCode;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

/// An answer with its complete body.
pub(super) type Answer = Response<Bytes>;

/// Bytes of a body up to which it is copied behind the head, so that one write has both; a longer body is written alone.
const JOINED_BYTES_MAX: usize = 16 << 10;

/// Makes an answer with a body, which caches must not store.
pub(super) fn body(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// An error as `application/problem+json` (RFC 9457) with a code of the common table.
pub(super) fn problem(status: StatusCode, code: ErrorCode, detail: &str) -> Answer {
    let problem = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "code": code.as_str(),
        "detail": detail,
    });
    body(status, "application/problem+json", problem.to_string())
}

/// Answers 405 with the allowed methods.
pub(super) fn not_allowed(allow: &'static str) -> Answer {
    let mut answer = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::MethodNotAllowed,
        "this path has other methods",
    );
    answer
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    answer
}

/// How an answer is sent on its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerMode {
    /// The request was a HEAD: the answer has the fields of a GET, without a body.
    pub(super) head_only: bool,
    /// The connection stays open for another request.
    pub(super) keep_alive: bool,
    /// The request was HTTP/1.1; otherwise 1.0, where `keep-alive` must be answered explicitly.
    pub(super) is_1_1: bool,
}

/// Encodes an answer: its head, with the body appended if that is short, and otherwise the body separately.
pub(super) fn encode(answer: Answer, mode: AnswerMode) -> (Vec<u8>, Bytes) {
    let (parts, body) = answer.into_parts();
    let status = parts.status;
    let mut bytes = Vec::with_capacity(512);
    let reason = status.canonical_reason().unwrap_or("Unknown");
    bytes.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
    for (name, value) in &parts.headers {
        line(&mut bytes, name.as_str(), value.as_bytes());
    }
    // These statuses have no body, whatever the header fields say (RFC 9112 section 6.3).
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !bodiless {
        line(
            &mut bytes,
            "content-length",
            body.len().to_string().as_bytes(),
        );
    }
    if !mode.keep_alive {
        line(&mut bytes, "connection", b"close");
    } else if !mode.is_1_1 {
        line(&mut bytes, "connection", b"keep-alive");
    }
    let date = httpdate::fmt_http_date(SystemTime::now());
    line(&mut bytes, "date", date.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    if bodiless || mode.head_only {
        return (bytes, Bytes::new());
    }
    if body.len() <= JOINED_BYTES_MAX {
        bytes.extend_from_slice(&body);
        return (bytes, Bytes::new());
    }
    (bytes, body)
}

fn line(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}
