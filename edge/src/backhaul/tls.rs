//! Mutual TLS 1.3 and the transport's settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chorus_protocol::backhaul::ALPN;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::config::BackhaulConfig;

/// Bytes of datagrams waiting each way; the oldest goes.
const DATAGRAM_BYTES: usize = 4 << 20;

/// Why the backhaul has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file is missing or is none.
    #[error("{}: {reason}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Certificate and key do not go together, or are of a kind that cannot be used.
    #[error("backhaul TLS: {0}")]
    Config(String),
}

/// Reads the files and puts a client's settings together.
pub(super) fn client(config: &BackhaulConfig) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&config.ca)? {
        roots.add(certificate).map_err(|error| TlsError::Pem {
            path: config.ca.clone(),
            reason: error.to_string(),
        })?;
    }
    let chain = certificates(&config.cert)?;
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| TlsError::Pem {
        path: config.key.clone(),
        reason: error.to_string(),
    })?;
    let other = |error: &dyn std::fmt::Display| TlsError::Config(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| other(&error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| other(&error))?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicClientConfig::try_from(tls).map_err(|error| other(&error))?;
    let mut client = ClientConfig::new(Arc::new(tls));
    client.transport_config(Arc::new(transport(config)?));
    Ok(client)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |reason: String| TlsError::Pem {
        path: path.to_owned(),
        reason,
    };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| failed(error.to_string()))?;
    if found.is_empty() {
        return Err(failed("holds no certificate".to_owned()));
    }
    Ok(found)
}

fn transport(config: &BackhaulConfig) -> Result<TransportConfig, TlsError> {
    let bounds = &config.bounds;
    let idle = Duration::from_millis(bounds.idle_ms_max)
        .try_into()
        .map_err(|_| TlsError::Config("idle_ms_max is too long".to_owned()))?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(Duration::from_millis(bounds.keep_alive_ms)))
        .stream_receive_window(VarInt::from_u32(bounds.lane_window_bytes))
        .receive_window(VarInt::from_u32(bounds.window_bytes))
        .send_window(u64::from(bounds.window_bytes))
        .max_concurrent_uni_streams(VarInt::from_u32(bounds.lanes_max))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(DATAGRAM_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BYTES)
        .initial_mtu(bounds.initial_mtu)
        .ack_frequency_config(Some(chorus_quic::acks()));
    Ok(transport)
}
