//! Everything of a PoP's port that is no WebSocket: the page and its files, health, metrics, and `/api`, which goes
//! on to the gateway. And the port of the PoP's own, where health and metrics wait for no viewer.

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
mod request;
mod server;
mod transport;

pub use bounds::HttpBounds;
pub use files::Files;
pub use server::{HANDOVERS_MAX, HttpServer, Rest};
pub use transport::Handover;
