//! Which PoPs there are, where browsers reach them and how full they are: said by PoPs, kept in gateways' leases, listed by
//! `GET /api/pops`.

use serde::{Deserialize, Serialize};

use crate::id::{PopId, Region};
use crate::time::Millis;

/// How long a gateway's lease counts without another one, in milliseconds.
pub const LEASE_MS: u64 = 3_000;
/// How often a gateway writes its lease, in milliseconds.
pub const BEAT_MS: u64 = 1_000;
/// PoPs in one gateway's lease: it stays below the largest message of NATS, 1 MB.
pub const LEASE_POPS_MAX: usize = 1_024;
/// Bytes of a PoP's public URL.
pub const URL_BYTES_MAX: usize = 256;

/// Whether a PoP takes viewers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PopState {
    /// It does.
    #[default]
    Serving,
    /// It closes those it has.
    Draining,
}

/// A PoP as its gateway knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pop {
    /// Its name.
    pub pop: PopId,
    /// Its region.
    pub region: Region,
    /// Where browsers reach it, see [`check_url`]; `None`: they do not.
    #[serde(default)]
    pub url: Option<String>,
    /// WebSockets open.
    #[serde(default)]
    pub connections: u64,
    /// Whether it takes more.
    #[serde(default)]
    pub state: PopState,
    /// When its gateway welcomed it, by that one's clock: of two words on a PoP the later one's counts.
    #[serde(default)]
    pub since_ms: Millis,
}

/// What a gateway's lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayLease {
    /// Grows with every lease of one process.
    pub beat: u64,
    /// The PoPs connected to it, at most [`LEASE_POPS_MAX`].
    #[serde(default)]
    pub pops: Vec<Pop>,
}

/// Checks a PoP's public URL: `http://` or `https://` and a host, perhaps with a port, and nothing behind it.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(url: &str) -> Result<(), String> {
    if url.len() > URL_BYTES_MAX {
        return Err(format!("is longer than {URL_BYTES_MAX} bytes"));
    }
    let host = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let Some(host) = host else {
        return Err(format!("`{url}` must begin with https:// or http://"));
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(allowed) {
        return Err(format!(
            "`{url}` must be a scheme, a host and perhaps a port, without a path"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_an_origin() {
        for right in [
            "https://eu-1.example",
            "http://127.0.0.1:8080",
            "http://[::1]:80",
        ] {
            assert_eq!(check_url(right), Ok(()), "{right}");
        }
        for wrong in [
            "",
            "eu-1.example",
            "ws://eu-1.example",
            "https://",
            "https://eu-1.example/",
            "https://eu-1.example/?a",
            "https://a b",
            "https://u@eu-1.example",
        ] {
            assert!(check_url(wrong).is_err(), "{wrong}");
        }
        assert!(check_url(&format!("https://{}", "a".repeat(URL_BYTES_MAX))).is_err());
    }
}
