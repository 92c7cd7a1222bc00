//! Calls of the REST interface: one short connection each.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::error::{ConnectError, RestError};

/// The REST interface of a PoP.
#[derive(Clone, Debug)]
pub struct Rest {
    endpoint: Endpoint,
    token: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    target: String,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value, RestError> {
        serde_json::from_slice(&self.body).map_err(|error| RestError::Body {
            target: self.target.clone(),
            reason: error.to_string(),
        })
    }

    /// The body as text, what is no UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `Content-Type`, empty when there is none.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

impl Rest {
    /// Bytes of an answer; a longer one is an error.
    pub const BODY_BYTES_MAX: usize = 64 << 20;
    /// Until a call is answered; then it is an error.
    pub const CALL_MAX: Duration = Duration::from_secs(15);

    /// Of the PoP at `http://…` or `https://…`.
    ///
    /// # Errors
    /// When it is no such address.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        Ok(Self {
            endpoint: Endpoint::parse(url)?,
            token: None,
        })
    }

    /// With this token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// `GET`.
    ///
    /// # Errors
    /// When there is no answer. An HTTP error is an answer.
    pub async fn get(&self, target: &str) -> Result<Response, RestError> {
        self.call("GET", target, None).await
    }

    /// `POST` with a JSON body.
    ///
    /// # Errors
    /// When there is no answer. An HTTP error is an answer.
    pub async fn post(&self, target: &str, body: &Value) -> Result<Response, RestError> {
        self.call("POST", target, Some(Bytes::from(body.to_string())))
            .await
    }

    /// Any method, any body (said to be JSON).
    ///
    /// # Errors
    /// When there is no answer. An HTTP error is an answer.
    pub async fn call(
        &self,
        method: &str,
        target: &str,
        body: Option<Bytes>,
    ) -> Result<Response, RestError> {
        let call = self.call_now(method, target, body);
        let timed = tokio::time::timeout(Self::CALL_MAX, call).await;
        timed.unwrap_or_else(|_| {
            Err(RestError::Answer {
                target: target.to_owned(),
                reason: format!("it took longer than {} s", Self::CALL_MAX.as_secs()),
            })
        })
    }

    async fn call_now(
        &self,
        method: &str,
        target: &str,
        body: Option<Bytes>,
    ) -> Result<Response, RestError> {
        let lost = |error: hyper::Error| RestError::Answer {
            target: target.to_owned(),
            reason: error.to_string(),
        };
        let stream = self.endpoint.connect(Self::CALL_MAX).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        // Ends by itself when the sender and the body are dropped.
        tokio::spawn(connection);

        let mut request = hyper::Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.endpoint.authority())
            .header(ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| RestError::Request {
                target: target.to_owned(),
                reason: error.to_string(),
            })?;

        let (head, body) = sender
            .send_request(request)
            .await
            .map_err(lost)?
            .into_parts();
        let body = Limited::new(body, Self::BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| RestError::Body {
                target: target.to_owned(),
                reason: error.to_string(),
            })?
            .to_bytes();
        Ok(Response {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            target: target.to_owned(),
        })
    }
}
