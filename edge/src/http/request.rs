//! A request's parsed head.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::ws::head::{self, Framing};

/// A request without its body.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// The path as received, percent-encoded.
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// The version is HTTP/1.1; otherwise 1.0.
    pub(super) is_1_1: bool,
    /// The peer wants to keep the connection open.
    pub(super) keep_alive: bool,
    /// The peer sends the body only after `100 Continue` (`Expect: 100-continue`).
    pub(super) expects: bool,
}

impl Request {
    /// Parses and removes a complete head from the front of `read`; `None` when it is invalid.
    pub(super) fn parse(read: &mut BytesMut) -> Option<Self> {
        let mut room = head::NO_FIELDS;
        let head = head::parse(read, &mut room).ok()??;
        let mut headers = HeaderMap::with_capacity(head.fields.len());
        for field in head.fields {
            headers.append(
                HeaderName::from_bytes(field.name.as_bytes()).ok()?,
                HeaderValue::from_bytes(field.value).ok()?,
            );
        }
        let request = Self {
            method: Method::from_bytes(head.method.as_bytes()).ok()?,
            path: head.path.to_owned(),
            query: head.query.map(str::to_owned),
            headers,
            framing: head.framing,
            is_1_1: head.is_1_1,
            keep_alive: !head.lists("connection", "close")
                && (head.is_1_1 || head.lists("connection", "keep-alive")),
            expects: head.is_1_1 && head.lists("expect", "100-continue"),
        };
        let length = head.bytes;
        read.advance(length);
        Some(request)
    }

    /// Path and query as received.
    pub(super) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }
}
