//! The heads of HTTP requests, RFC 6455 and RFC 7692 (`permessage-deflate`, no context takeover), as functions on bytes:
//! no socket, no clock.

pub mod code;
pub mod deflate;
pub mod frame;
pub mod handshake;
pub mod head;
pub mod offer;
pub mod reader;
