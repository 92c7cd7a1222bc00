//! The origin of Chorus: one binary, roles by flag, over NATS JetStream.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`log`] | the log as traits: NATS behind them, and a twin in memory for tests |
//! | [`store`] | the record: a trait for each purpose, and SQLite behind them |
//! | [`history`] | the store and the log's tail as one |
//! | [`gateway`] | the role that serves PoPs over QUIC |
//! | [`persist`] | the role that writes the log to the store |
//! | [`api`] | the role that answers the REST interface |
//! | [`health`] | what is wrong now: disks, log, store |
//! | [`admin`] | `/healthz`, `/readyz` and `/metrics` |
//! | [`run`] | starts roles and stops them |
//!
//! **Invariants**: only [`log`] names `async_nats`, only [`gateway`] names `quinn`, only [`store`] names `rusqlite`.

// Both panic when nobody takes what is printed.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod admin;
pub mod api;
pub mod clock;
pub mod config;
pub mod gateway;
mod gateways;
pub mod health;
pub mod history;
mod lock;
pub mod log;
pub mod metrics;
pub mod persist;
pub mod run;
pub mod store;
