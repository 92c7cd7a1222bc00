//! Heads of HTTP requests, WebSockets (RFC 6455) and `permessage-deflate` without context takeover (RFC 7692), as functions
//! on bytes: no socket, no clock.

pub mod code;
pub mod deflate;
pub mod frame;
pub mod handshake;
pub mod head;
pub mod offer;
pub mod reader;
