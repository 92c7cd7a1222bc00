//! Answers: JSON, and errors as `application/problem+json` (RFC 9457) with a code of the table that sockets use too.

use chorus_protocol::backhaul::RestResponse;
use chorus_protocol::codes::ErrorCode;
use serde::Serialize;

/// When trying again makes sense after `unavailable`, in seconds.
const UNAVAILABLE_RETRY_S: u64 = 1;

/// Why a call was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: ErrorCode,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip)]
    headers: Vec<(String, String)>,
}

impl Problem {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let status = code.http_status();
        Self {
            r#type: "about:blank",
            title: title(status),
            status,
            code,
            detail: detail.into(),
            retry_after_ms: None,
            headers: Vec::new(),
        }
    }

    /// The call cannot be read.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidMessage, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, detail)
    }

    pub(super) fn no_stream() -> Self {
        Self::new(ErrorCode::StreamNotFound, "there is no such stream")
    }

    /// The path has other methods: they are named (RFC 9110, 15.5.6).
    pub(super) fn not_allowed(allowed: &str) -> Self {
        let detail = format!("this path takes {allowed}");
        // A PoP answers HEAD as the GET without its body.
        let allow = allowed.replace("GET", "GET, HEAD");
        Self::new(ErrorCode::MethodNotAllowed, detail).with("allow", allow)
    }

    /// No token came: no error is named (RFC 6750, 3.1).
    pub(super) fn unauthenticated(detail: &str) -> Self {
        Self::new(ErrorCode::Unauthenticated, detail)
            .with("www-authenticate", r#"Bearer realm="chorus""#.to_owned())
    }

    /// A token came and will not do.
    pub(super) fn bad_token(code: ErrorCode, detail: &str) -> Self {
        let challenge = format!(
            r#"Bearer realm="chorus", error="invalid_token", error_description="{detail}""#
        );
        Self::new(code, detail).with("www-authenticate", challenge)
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(ErrorCode::Unavailable, detail)
            .with("retry-after", UNAVAILABLE_RETRY_S.to_string());
        problem.retry_after_ms = Some(UNAVAILABLE_RETRY_S * 1_000);
        problem
    }

    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, detail)
    }

    fn with(mut self, name: &str, value: String) -> Self {
        self.headers.push((name.to_owned(), value));
        self
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> ErrorCode {
        self.code
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn response(&self) -> RestResponse {
        RestResponse {
            status: self.status,
            content_type: "application/problem+json".to_owned(),
            // Strings and numbers into memory cannot fail.
            body: serde_json::to_vec(self).unwrap_or_default(),
            headers: self.headers.clone(),
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
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_code_that_a_socket_would_say() {
        for &code in ErrorCode::ALL {
            let response = Problem::new(code, "why").response();
            assert_eq!(response.status, code.http_status());
            let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
            assert_eq!(body["code"], code.as_str());
            assert_eq!(body["status"], code.http_status());
            let titled = body["title"] != "Internal Server Error";
            assert!(titled || code == ErrorCode::Internal, "{code} has no title");
        }
    }

    #[test]
    fn what_helps_is_said_in_the_fields_too() {
        let fields = |problem: &Problem| problem.response().headers;
        assert_eq!(
            fields(&Problem::not_allowed("GET, POST")),
            [("allow".to_owned(), "GET, HEAD, POST".to_owned())]
        );
        assert_eq!(
            fields(&Problem::unavailable("away")),
            [("retry-after".to_owned(), "1".to_owned())]
        );
        assert_eq!(fields(&Problem::invalid("no")), []);
    }
}
