//! Answers: JSON, and errors as `application/problem+json` (RFC 9457).

use chorus_protocol::backhaul::RestResponse;
use serde::Serialize;

/// Why a call was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: u16, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: title(status),
            status,
            detail: detail.into(),
        }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, detail)
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(503, detail)
    }

    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(500, detail)
    }

    pub(super) fn response(&self) -> RestResponse {
        RestResponse {
            status: self.status,
            content_type: "application/problem+json".to_owned(),
            // Strings and numbers into memory cannot fail.
            body: serde_json::to_vec(self).unwrap_or_default(),
            headers: Vec::new(),
        }
    }
}

/// A JSON answer.
pub(super) fn json<T: Serialize>(status: u16, value: &T) -> Result<RestResponse, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(RestResponse {
        status,
        content_type: "application/json".to_owned(),
        body,
        headers: Vec::new(),
    })
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}
