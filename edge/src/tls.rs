//! TLS 1.3 for viewers.

mod config;
mod session;
mod stream;

pub use config::{TlsError, server_config};
pub use session::{Progress, Session};
pub use stream::TlsStream;
