//! `/api`: forwards requests to the gateway and returns its answers.

use bytes::Bytes;
use chorus_protocol::backhaul::{RestRequest, RestResponse};
use chorus_protocol::codes::ErrorCode;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::answer::{Answer, body, not_allowed, problem};
use super::pops;
use super::request::Request;
use super::server::{Rest, Shared};
use crate::backhaul::RestError;
use crate::ws::handshake::{OriginRefused, Origins};

/// Methods of the REST interface.
const METHODS: &str = "GET, HEAD, POST, PATCH, PUT, DELETE, OPTIONS";
/// Header fields of a gateway's answer that are forwarded, besides `Content-Type`; all others are dropped.
const FORWARDED: [HeaderName; 6] = [
    header::WWW_AUTHENTICATE,
    header::ALLOW,
    header::RETRY_AFTER,
    header::LOCATION,
    header::LINK,
    header::CONTENT_DISPOSITION,
];
/// Those that a page of another origin may read.
const EXPOSED: &str = "WWW-Authenticate, Allow, Retry-After, Location, Link, Content-Disposition";

/// Answers a request for `/api`; `sent` is its body.
pub(super) async fn answer(request: &Request, sent: Bytes, shared: &Shared) -> Answer {
    let origin = origin(request, &shared.origins);
    let mut answer = match origin {
        Err(_) => problem(
            StatusCode::FORBIDDEN,
            ErrorCode::Forbidden,
            "pages of this origin may not call",
        ),
        Ok(_) if request.method == Method::OPTIONS => preflight(),
        Ok(_) if request.path == pops::PATH => match pops::refused(request) {
            Some(refused) => refused,
            None => shared.pops().await,
        },
        Ok(_) => forward(request, sent, &*shared.rest).await,
    };
    share(&mut answer, &shared.origins, origin);
    answer
}

/// The origin of the page that asks, where there is one and it may.
pub(super) fn origin<'a>(
    request: &'a Request,
    origins: &Origins,
) -> Result<Option<&'a str>, OriginRefused> {
    let fields = request.headers.get_all(header::ORIGIN);
    origins.judge(fields.iter().map(HeaderValue::as_bytes))
}

/// Lets the page that asked read the answer, where it may.
pub(super) fn share(
    answer: &mut Answer,
    origins: &Origins,
    origin: Result<Option<&str>, OriginRefused>,
) {
    let headers = answer.headers_mut();
    if origins.0.is_some() {
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Ok(Some(origin)) = origin {
        // Tokens are sent in a header field and never in a cookie, so every allowed page may read the answers.
        let value = if origins.0.is_none() {
            Ok(HeaderValue::from_static("*"))
        } else {
            HeaderValue::from_str(origin)
        };
        if let Ok(value) = value {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(EXPOSED),
            );
        }
    }
}

fn preflight() -> Answer {
    let mut answer = body(StatusCode::NO_CONTENT, "text/plain", "");
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::ALLOW, METHODS),
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

async fn forward(request: &Request, sent: Bytes, rest: &dyn Rest) -> Answer {
    let method = match request.method {
        // The connection sends the answer without its body.
        Method::HEAD => Method::GET,
        Method::GET | Method::POST | Method::PATCH | Method::PUT | Method::DELETE => {
            request.method.clone()
        }
        _ => return not_allowed(METHODS),
    };
    // A field that is not UTF-8 counts as a bad token or an unknown type, not as missing.
    let text = |name: HeaderName| {
        let value = request.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let call = RestRequest {
        method: method.to_string(),
        target: request.target(),
        authorization: text(header::AUTHORIZATION),
        content_type: text(header::CONTENT_TYPE).filter(|_| !sent.is_empty()),
        body: sent.to_vec(),
    };
    match rest.rest(call).await {
        Ok(response) => forwarded(response),
        Err(RestError::Unavailable) => unavailable("no gateway can be reached"),
        Err(RestError::Busy) => unavailable("too many calls at once"),
        Err(RestError::TooLong) => problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::TooLarge,
            "the body is too long",
        ),
        Err(RestError::Timeout) => problem(
            StatusCode::GATEWAY_TIMEOUT,
            ErrorCode::Timeout,
            "the gateway did not answer in time",
        ),
    }
}

/// The gateway's answer with the header fields that are forwarded.
fn forwarded(response: RestResponse) -> Answer {
    let status = StatusCode::from_u16(response.status)
        .ok()
        .filter(|status| !status.is_informational())
        .unwrap_or(StatusCode::BAD_GATEWAY);
    let mut answer = body(status, "application/octet-stream", response.body);
    let headers = answer.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(&response.content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    for (name, value) in &response.headers {
        let name = FORWARDED.iter().find(|allowed| allowed.as_str() == name);
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    answer
}

fn unavailable(detail: &str) -> Answer {
    let mut answer = problem(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Unavailable,
        detail,
    );
    answer
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}
