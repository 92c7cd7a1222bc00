//! The backhaul against a gateway that speaks the real protocol over QUIC on loopback.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one message it waits for"
)]

#[path = "backhaul/counting.rs"]
mod counting;
#[path = "backhaul/gateway.rs"]
mod gateway;
#[path = "backhaul/holding.rs"]
mod holding;
#[path = "backhaul/keys.rs"]
mod keys;
#[path = "backhaul/line.rs"]
mod line;
#[path = "backhaul/listing.rs"]
mod listing;
#[path = "backhaul/living.rs"]
mod living;
#[path = "backhaul/neighbours.rs"]
mod neighbours;
#[path = "backhaul/panics.rs"]
mod panics;
#[path = "backhaul/pop.rs"]
mod pop;
#[path = "backhaul/posting.rs"]
mod posting;
#[path = "backhaul/replaying.rs"]
mod replaying;
