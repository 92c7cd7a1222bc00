//! Where a PoP is, and a byte connection to it: plain or TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::ConnectError;

/// A byte connection, whatever it runs over.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A PoP's address, read from `http://host:port`, `https://…`, `ws://…` or `wss://…`; a path is ignored.
#[derive(Clone)]
pub struct Endpoint {
    host: String,
    port: u16,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.authority())
    }
}

impl Endpoint {
    /// Reads an address; TLS trusts what the operating system trusts.
    ///
    /// # Errors
    /// When it is no such address, or the operating system's certificates cannot be had for a TLS one.
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let mut endpoint = Self::parts(url)?;
        if endpoint.1 {
            let found = rustls_native_certs::load_native_certs();
            endpoint.0.tls = Some(trusting(url, found.certs)?);
        }
        Ok(endpoint.0)
    }

    /// Reads an address; TLS trusts these certificates alone.
    ///
    /// # Errors
    /// When it is no such address or a certificate cannot be read.
    pub fn parse_trusting(
        url: &str,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, ConnectError> {
        let mut endpoint = Self::parts(url)?;
        if endpoint.1 {
            endpoint.0.tls = Some(trusting(url, roots)?);
        }
        Ok(endpoint.0)
    }

    fn parts(url: &str) -> Result<(Self, bool), ConnectError> {
        let refuse = |reason: &str| ConnectError::Url {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| refuse("it is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(refuse("it begins with none of http, https, ws, wss")),
        };
        let host = uri.host().ok_or_else(|| refuse("it has no host"))?;
        let endpoint = Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls: None,
        };
        Ok((endpoint, tls))
    }

    /// `host:port`, as it stands in a `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Connects, with TLS where the address asks for it.
    pub(crate) async fn connect(&self, within: Duration) -> Result<Box<dyn Bytes>, ConnectError> {
        tokio::time::timeout(within, self.connect_now())
            .await
            .unwrap_or_else(|_| Err(ConnectError::TimedOut(millis(within))))
    }

    async fn connect_now(&self) -> Result<Box<dyn Bytes>, ConnectError> {
        let failed = |error| ConnectError::Tcp {
            address: self.authority(),
            error,
        };
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(failed)?;
        // A comment is one small write: waiting for more would only add to its way.
        tcp.set_nodelay(true).map_err(failed)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        let failed = |error| ConnectError::Tls {
            address: self.authority(),
            error,
        };
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await;
        Ok(Box::new(stream.map_err(failed)?))
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn trusting(
    url: &str,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<Arc<rustls::ClientConfig>, ConnectError> {
    let refuse = |reason: String| ConnectError::Url {
        url: url.to_owned(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    // An operating system's list may hold one that cannot be read; one good certificate is enough.
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(refuse("there is no certificate to trust".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_their_default_ports() {
        let authority =
            |url: &str| Endpoint::parts(url).map(|(endpoint, tls)| (endpoint.authority(), tls));
        assert_eq!(
            authority("ws://localhost:8080/v1/ws").ok(),
            Some(("localhost:8080".to_owned(), false))
        );
        assert_eq!(
            authority("http://[::1]:81").ok(),
            Some(("[::1]:81".to_owned(), false))
        );
        assert_eq!(
            authority("https://live.example").ok(),
            Some(("live.example:443".to_owned(), true))
        );
        assert!(authority("ftp://x").is_err());
        assert!(authority("localhost:8080").is_err());
        assert!(authority("http:///x").is_err());
    }

    #[test]
    fn tls_without_a_root_is_refused() {
        assert!(Endpoint::parse_trusting("wss://live.example", Vec::new()).is_err());
    }
}
