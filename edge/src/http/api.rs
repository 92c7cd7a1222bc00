//! `/api`: what the PoP passes on to the gateway, and how its answers come back.

use chorus_protocol::backhaul::{REST_BODY_BYTES_MAX, RestRequest};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode};

use super::answer::{Answer, body, not_allowed, problem};
use super::server::Rest;
use crate::backhaul::RestError;
use crate::ws::handshake::Origins;

/// Methods of the REST interface.
const METHODS: &str = "GET, HEAD, POST, PATCH, PUT, DELETE, OPTIONS";

/// Answers a call.
pub(super) async fn answer(
    request: Request<Incoming>,
    rest: &dyn Rest,
    origins: &Origins,
) -> Answer {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origins.allow(origin.as_ref().and_then(|origin| origin.to_str().ok()));
    let mut answer = if !allowed {
        problem(StatusCode::FORBIDDEN, "pages of this origin may not call")
    } else if request.method() == Method::OPTIONS {
        preflight()
    } else {
        forward(request, rest).await
    };
    if let Some(origin) = origin.filter(|_| allowed) {
        // Tokens travel in a header, never in a cookie, so any page that is allowed at all may read the answers.
        let value = if origins.0.is_none() {
            HeaderValue::from_static("*")
        } else {
            origin
        };
        let headers = answer.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    answer
}

fn preflight() -> Answer {
    let mut answer = body(StatusCode::NO_CONTENT, "text/plain", "");
    let headers = answer.headers_mut();
    for (name, value) in [
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

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

async fn forward(request: Request<Incoming>, rest: &dyn Rest) -> Answer {
    let (head, incoming) = request.into_parts();
    let method = match head.method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PATCH
        | Method::PUT
        | Method::DELETE => head.method,
        _ => return not_allowed(METHODS),
    };
    let Ok(collected) = Limited::new(incoming, REST_BODY_BYTES_MAX).collect().await else {
        return problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is too long or was cut off",
        );
    };
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    let sent = collected.to_bytes();
    let call = RestRequest {
        method: if method == Method::HEAD {
            "GET".to_owned()
        } else {
            method.to_string()
        },
        target,
        authorization: text(&head.headers, header::AUTHORIZATION),
        content_type: text(&head.headers, header::CONTENT_TYPE).filter(|_| !sent.is_empty()),
        body: sent.to_vec(),
    };
    match rest.rest(call).await {
        Ok(response) => {
            let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
            let mut answer = body(status, "application/octet-stream", response.body);
            if let Ok(content_type) = HeaderValue::from_str(&response.content_type) {
                answer
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, content_type);
            }
            answer
        }
        Err(RestError::Unavailable) => away("no gateway can be reached"),
        Err(RestError::Busy) => away("too many calls at once"),
        Err(RestError::TooLong) => problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long"),
        Err(RestError::Timeout) => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "the gateway did not answer in time",
        ),
    }
}

fn away(detail: &str) -> Answer {
    let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, detail);
    answer
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}
