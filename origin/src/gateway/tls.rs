//! The gateway's end of mutual TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::backhaul;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use super::GatewayError;
use crate::config::Gateway;

/// A PoP that says nothing for this long is gone.
const IDLE_MS: u32 = 6_000;
/// How often a quiet connection is kept alive.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Request and posts lanes a PoP may have open at once; at the bound it waits.
const LANES_BOTH_WAYS_MAX: u32 = 1_024;
/// Bytes a PoP may send on a lane before they are read.
const LANE_BYTES_MAX: u32 = 4 << 20;
/// Bytes a PoP may send in all before they are read.
const CONNECTION_BYTES_MAX: u32 = 32 << 20;
/// Bytes sent to a PoP and not acknowledged.
const SEND_BYTES_MAX: u64 = 32 << 20;
/// Datagrams waiting to be sent; beyond it the oldest goes.
const DATAGRAM_BYTES_MAX: usize = 1 << 20;

pub(super) fn server_config(config: &Gateway) -> Result<ServerConfig, GatewayError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(&config.ca)? {
        roots.add(certificate).map_err(GatewayError::tls)?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(GatewayError::tls)?;
    let key = PrivateKeyDer::from_pem_file(&config.key)
        .map_err(|error| GatewayError::file(&config.key, error))?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(GatewayError::tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&config.cert)?, key)
        .map_err(GatewayError::tls)?;
    tls.alpn_protocols = vec![backhaul::ALPN.to_vec()];
    let quic = QuicServerConfig::try_from(tls).map_err(GatewayError::tls)?;
    let mut server = ServerConfig::with_crypto(Arc::new(quic));
    server.transport_config(Arc::new(transport()));
    Ok(server)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .ack_frequency_config(Some(chorus_quic::acks()))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(LANES_BOTH_WAYS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(LANE_BYTES_MAX))
        .receive_window(VarInt::from_u32(CONNECTION_BYTES_MAX))
        .send_window(SEND_BYTES_MAX)
        .datagram_receive_buffer_size(Some(DATAGRAM_BYTES_MAX))
        .datagram_send_buffer_size(DATAGRAM_BYTES_MAX);
    transport
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, GatewayError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| GatewayError::file(path, error))
}
