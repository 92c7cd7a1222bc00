//! How a group of connections speaks to its server.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use crate::ws;

/// How TLS is spoken: with whoever answers, for this measures and does not trust.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// TLS 1.3.
    pub(crate) fn new() -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
            name: ServerName::try_from("localhost")?,
        })
    }

    /// A new connection's state.
    pub(crate) fn connection(&self) -> Result<ClientConnection> {
        Ok(ClientConnection::new(
            Arc::clone(&self.config),
            self.name.clone(),
        )?)
    }
}

/// When a connection counts as ready.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ready {
    /// At once: it is no WebSocket, and what comes is only counted.
    Raw,
    /// When it is upgraded.
    Upgraded,
    /// When a message with these bytes in it has come.
    Says(&'static [u8]),
    /// When any message has come.
    Answers,
}

/// How to speak.
pub(crate) struct Dialect {
    pub(crate) addr: SocketAddr,
    pub(crate) tls: Option<Tls>,
    /// The first bytes, for one connection after the other and then from the first again.
    pub(crate) requests: Vec<Vec<u8>>,
    /// The bytes after the upgrade, framed, in the same way.
    pub(crate) hellos: Vec<Vec<u8>>,
    pub(crate) ready: Ready,
    /// Look for receipts in what comes without a mark.
    pub(crate) receipts: bool,
    /// Count the messages with these bytes in them.
    pub(crate) notice: Option<&'static [u8]>,
    /// The socket's receive buffer, in bytes.
    pub(crate) receive_buffer: Option<usize>,
}

impl Dialect {
    /// A WebSocket at a path, with more headers, that says nothing of itself.
    pub(crate) fn websocket(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        Self {
            addr,
            tls: None,
            requests: vec![ws::upgrade_request(path, &addr.to_string(), headers)],
            hellos: Vec::new(),
            ready: Ready::Upgraded,
            receipts: false,
            notice: None,
            receive_buffer: None,
        }
    }

    /// A bare TCP connection.
    pub(crate) fn raw(addr: SocketAddr, first: Vec<u8>) -> Self {
        Self {
            requests: vec![first],
            ready: Ready::Raw,
            ..Self::websocket(addr, "/", &[])
        }
    }

    /// What the connection of a number sends.
    pub(crate) fn of(each: &[Vec<u8>], number: usize) -> &[u8] {
        let at = number.checked_rem(each.len());
        at.map_or(&[], |at| &each[at])
    }
}

/// Takes any certificate but checks the signatures, so that the handshake costs what it costs.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
