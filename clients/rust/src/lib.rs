//! A Chorus client: the WebSocket protocol in both encodings, and the REST interface.
//!
//! - [`Client`] is one connection: messages in, messages out, close codes told.
//! - [`Viewer`] is one person at one stream: it keeps what was shown by id, counts repeats, remembers receipts by
//!   `client_id` and knows how to resume.
//! - [`Rest`] calls `/api`.
//!
//! It speaks by the clients' protocol alone: what it can do, any other client can.

mod client;
mod endpoint;
mod error;
mod rest;
mod viewer;

pub use client::{Client, Close, Event, Options, TokenIn};
pub use endpoint::Endpoint;
pub use error::{ConnectError, RestError, SendError, WaitError};
pub use rest::{Response, Rest};
pub use viewer::{Seen, Viewer};

pub use chorus_protocol as protocol;
