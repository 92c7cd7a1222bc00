//! Everything of a PoP's port that is no WebSocket: the page and its files, health, metrics, and `/api`, which goes
//! on to the gateway.

mod answer;
mod api;
mod files;
mod server;

pub use files::Files;
pub use server::{HANDOVERS_MAX, Handover, HttpServer, Rest};
