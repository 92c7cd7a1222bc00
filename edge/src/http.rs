//! The HTTP server: all requests to a PoP's port that are no WebSocket upgrade. It serves the page's files, health and
//! metrics, and forwards `/api` to the gateway. A second, separate port serves health and metrics to the operator.

mod admin;
mod answer;
mod api;
mod body;
mod bounds;
mod connection;
mod files;
mod metrics;
mod negotiate;
mod places;
mod pops;
mod request;
mod server;
mod transport;

pub use bounds::HttpBounds;
pub use files::Files;
pub use pops::Here;
pub use server::{HANDOVERS_MAX, HttpServer, Rest};
pub use transport::Handover;
