//! Leases of gateways: which of them are alive, and what each says of its PoPs.
//!
//! Each region has a log of them in memory, one message a gateway, which expires [`LEASE_MS`] after it was written; that it
//! expired is repeated live as every message is.

use bytes::Bytes;
use chorus_protocol::presence::LEASE_MS;
use chorus_protocol::{Region, subject};

use super::{Answer, Feed, Regional};

/// How long a lease is in its log, in seconds: whole ones, as NATS counts.
pub(super) const LEASE_S: u64 = LEASE_MS / 1_000;

/// A gateway's lease as its log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayWord {
    /// `<region>.<gateway>`.
    pub gateway: String,
    /// The place in the region's log, which begins anew when all its servers were restarted.
    pub seq: u64,
    /// What the gateway wrote; empty: its lease ended.
    pub body: Bytes,
}

impl GatewayWord {
    /// Of a message on a subject that ends with `gateway.<region>.<gateway>`.
    pub(super) fn read(subject: &str, seq: u64, body: Bytes) -> Option<Self> {
        let (_, gateway) = subject.split_once("gateway.")?;
        let (region, id) = gateway.split_once('.')?;
        region.parse::<Region>().ok()?;
        (!id.is_empty()).then(|| Self {
            gateway: gateway.to_owned(),
            seq,
            body,
        })
    }
}

/// All leases of a region.
pub(super) fn leases_of(region: &Region) -> String {
    subject::gateway_lease(region, "*")
}

/// What comes live of the leases of all regions.
pub(super) fn live_leases() -> String {
    subject::live("gateway.*.*")
}

/// Leases as they are written and as they end.
pub type GatewayWords = Feed<GatewayWord>;

/// The gateways' leases. Every answer fails when the log is away.
pub trait GatewayLeases: Regional {
    /// Writes the lease of a gateway of this region over the one before; an empty body gives it back.
    fn lease_gateway<'a>(&'a self, gateway: &'a str, body: Vec<u8>) -> Answer<'a, ()>;
    /// The leases that a region's log holds now.
    fn gateway_leases<'a>(&'a self, region: &'a Region) -> Answer<'a, Vec<GatewayWord>>;
    /// Follows the leases of all regions. Fails when the connection is closed for good.
    fn follow_gateways(&self) -> Answer<'_, GatewayWords>;
}
