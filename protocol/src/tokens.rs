//! How tokens are configured: the keys they may be signed with, and what their claims must say. One section for PoPs
//! and origins; the verifier itself is the crate `chorus-tokens`.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Seconds that clocks may differ at the most, as configuration allows it.
pub const LEEWAY_S_MAX: u64 = 600;

/// A key that tokens may be signed with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "alg", deny_unknown_fields)]
pub enum TokenKey {
    /// HMAC with SHA-256.
    HS256 {
        /// The key's name in tokens' headers.
        #[serde(default)]
        kid: Option<String>,
        /// The secret, 32 bytes or more, as base64url without padding.
        secret: String,
    },
    /// Ed25519.
    EdDSA {
        /// The key's name in tokens' headers.
        #[serde(default)]
        kid: Option<String>,
        /// The 32 bytes of the public key, base64url without padding.
        public: String,
    },
    /// ECDSA on P-256 with SHA-256.
    ES256 {
        /// The key's name in tokens' headers.
        #[serde(default)]
        kid: Option<String>,
        /// The public key as an uncompressed or compressed SEC1 point, base64url without padding.
        public: String,
    },
    /// RSA PKCS#1 v1.5 with SHA-256.
    RS256 {
        /// The key's name in tokens' headers.
        #[serde(default)]
        kid: Option<String>,
        /// The modulus, base64url without padding.
        n: String,
        /// The exponent, base64url without padding.
        e: String,
    },
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Configurations are printed; secrets are not.
        let (alg, kid) = match self {
            Self::HS256 { kid, .. } => ("HS256", kid),
            Self::EdDSA { kid, .. } => ("EdDSA", kid),
            Self::ES256 { kid, .. } => ("ES256", kid),
            Self::RS256 { kid, .. } => ("RS256", kid),
        };
        f.debug_struct(alg)
            .field("kid", kid)
            .finish_non_exhaustive()
    }
}

/// What a token must say besides being signed with one of the keys.
///
/// An unknown field is an error: a rule that is not understood must not be dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRules {
    /// One of these must be among the token's `aud`; empty: `aud` is not looked at.
    pub audiences: Vec<String>,
    /// The token's `iss` must be one of these; empty: `iss` is not looked at.
    pub issuers: Vec<String>,
    /// Seconds that the issuer's clock may differ from ours: a token is good until `exp` and from `nbf` with as much in
    /// its favour.
    pub leeway_s: u64,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            audiences: Vec::new(),
            issuers: Vec::new(),
            leeway_s: 60,
        }
    }
}

/// The section `[tokens]` of a PoP's and of an origin's configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokensConfig {
    /// Keys: `{alg = "HS256", secret = "…"}`, `{alg = "EdDSA", public = "…"}`, …, base64url without padding.
    pub keys: Vec<TokenKey>,
    /// A JWKS document whose keys count too.
    pub jwks_file: Option<PathBuf>,
    /// See [`TokenRules::audiences`].
    pub audiences: Vec<String>,
    /// See [`TokenRules::issuers`].
    pub issuers: Vec<String>,
    /// See [`TokenRules::leeway_s`]: 0 to [`LEEWAY_S_MAX`].
    pub leeway_s: u64,
}

impl Default for TokensConfig {
    fn default() -> Self {
        let TokenRules {
            audiences,
            issuers,
            leeway_s,
        } = TokenRules::default();
        Self {
            keys: Vec::new(),
            jwks_file: None,
            audiences,
            issuers,
            leeway_s,
        }
    }
}

impl TokensConfig {
    /// What tokens must say.
    #[must_use]
    pub fn rules(&self) -> TokenRules {
        TokenRules {
            audiences: self.audiences.clone(),
            issuers: self.issuers.clone(),
            leeway_s: self.leeway_s,
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// The first that is wrong, by name.
    pub fn check(&self) -> Result<(), String> {
        if self.leeway_s > LEEWAY_S_MAX {
            return Err(format!(
                "tokens.leeway_s is {}, must be 0 to {LEEWAY_S_MAX}",
                self.leeway_s
            ));
        }
        for (name, values) in [
            ("tokens.audiences", &self.audiences),
            ("tokens.issuers", &self.issuers),
        ] {
            if values.iter().any(String::is_empty) {
                return Err(format!("{name} has an empty entry"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let key = TokenKey::HS256 {
            kid: Some("k1".to_owned()),
            secret: "c2VjcmV0".to_owned(),
        };
        let printed = format!("{key:?}");
        assert!(
            printed.contains("k1") && !printed.contains("c2Vj"),
            "{printed}"
        );
    }

    #[test]
    fn ranges_are_checked_by_name() {
        let wrong = TokensConfig {
            leeway_s: LEEWAY_S_MAX + 1,
            ..TokensConfig::default()
        };
        assert!(
            wrong
                .check()
                .is_err_and(|error| error.contains("tokens.leeway_s"))
        );
        let empty = TokensConfig {
            audiences: vec![String::new()],
            ..TokensConfig::default()
        };
        assert!(empty.check().is_err());
        assert_eq!(TokensConfig::default().check(), Ok(()));
        assert_eq!(TokensConfig::default().rules(), TokenRules::default());
    }
}
