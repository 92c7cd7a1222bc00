//! What can go wrong, by operation.

use std::io;

use tokio_tungstenite::tungstenite;

use crate::client::Close;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not `http`, `https`, `ws` or `wss`, or without a host.
    #[error("{url} is no address of a PoP: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No TCP connection.
    #[error("cannot connect to {address}: {error}")]
    Tcp {
        /// Where to.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The TLS handshake failed.
    #[error("TLS with {address}: {error}")]
    Tls {
        /// With whom.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The peer answered the upgrade with an HTTP error.
    #[error("the upgrade was refused with {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        body: String,
    },
    /// The peer does not speak WebSocket as it should.
    #[error("the upgrade failed: {0}")]
    Upgrade(String),
    /// It took longer than `connect_ms_max`.
    #[error("no connection within {0} ms")]
    TimedOut(u64),
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The value cannot be encoded.
    #[error("{0}")]
    Encode(String),
    /// The connection is gone.
    #[error("the connection is gone: {0}")]
    Gone(String),
}

impl From<tungstenite::Error> for SendError {
    fn from(error: tungstenite::Error) -> Self {
        Self::Gone(error.to_string())
    }
}

/// Why what was waited for did not come.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// Not within the time given.
    #[error("{what} did not come within {within_ms} ms; {state}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        within_ms: u128,
        /// How the viewer stands.
        state: String,
    },
    /// The connection ended first.
    #[error("the connection ended ({close:?}) while waiting for {what}")]
    Closed {
        /// What was waited for.
        what: String,
        /// How it ended.
        close: Close,
    },
}

/// Why a REST call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The request cannot be made.
    #[error("cannot ask for {target}: {reason}")]
    Request {
        /// What was asked for.
        target: String,
        /// Why not.
        reason: String,
    },
    /// The connection broke, or the answer is not HTTP.
    #[error("no answer for {target}: {reason}")]
    Answer {
        /// What was asked for.
        target: String,
        /// Why not.
        reason: String,
    },
    /// The body is longer than [`crate::Rest::BODY_BYTES_MAX`] or not JSON where JSON is wanted.
    #[error("the answer for {target} cannot be read: {reason}")]
    Body {
        /// What was asked for.
        target: String,
        /// Why not.
        reason: String,
    },
}
