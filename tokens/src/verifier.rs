//! The verifier: keys and rules, by which it checks tokens.

use std::fmt;

use chorus_protocol::Millis;
use chorus_protocol::tokens::{TokenKey, TokenRules};
use serde_json::Value;

use crate::claims::{self, Identity};
use crate::jws::Jws;
use crate::key::{Key, KeyError};

/// Bytes of a token; a longer one is refused without parsing.
pub const TOKEN_BYTES_MAX: usize = 4_096;
/// Keys tried for one token, at most, so that the cost of a token is bounded.
const KEYS_TRIED_MAX: usize = 8;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JWT, or an invalid header or claim.
    #[error("the token cannot be read: {0}")]
    Malformed(&'static str),
    /// Its header has `crit` or `b64: false`, which must be understood or refused (RFC 7515, 4.1.11).
    #[error("the token's header has an extension that is not understood")]
    Critical,
    /// No configured key has its algorithm and key id.
    #[error("no key fits the token's algorithm and key id")]
    NoKey,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// The time is past `exp` plus the leeway.
    #[error("the token has expired")]
    Expired,
    /// It has no `exp`.
    #[error("the token has no `exp`")]
    NoExpiry,
    /// The time is before `nbf` minus the leeway.
    #[error("the token is not valid yet")]
    NotYet,
    /// `iss` is not a configured issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` has no configured audience.
    #[error("the token is for another audience")]
    Audience,
}

/// A key with its key id.
pub(crate) struct Named {
    pub(crate) kid: Option<String>,
    pub(crate) key: Key,
}

/// Checks tokens against the configured keys and rules.
pub struct Verifier {
    keys: Vec<Named>,
    passed_over: usize,
    rules: TokenRules,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys are not printed, because some are secrets.
        write!(f, "Verifier({} keys, {:?})", self.keys.len(), self.rules)
    }
}

impl Verifier {
    /// Makes a verifier with the keys of the configuration and of a JWKS document. Keys of the JWKS that have no supported
    /// algorithm, or are not for verifying signatures, are ignored (RFC 7517).
    ///
    /// # Errors
    /// When a configured key cannot be used, or the document is no JWKS.
    pub fn try_new(
        keys: &[TokenKey],
        jwks: Option<&Value>,
        rules: &TokenRules,
    ) -> Result<Self, KeyError> {
        let mut all = Vec::with_capacity(keys.len());
        for key in keys {
            let kid = match key {
                TokenKey::HS256 { kid, .. }
                | TokenKey::EdDSA { kid, .. }
                | TokenKey::ES256 { kid, .. }
                | TokenKey::RS256 { kid, .. } => kid.clone(),
            };
            let key = Key::try_new(key)?;
            all.push(Named { kid, key });
        }
        let mut passed_over = 0;
        if let Some(jwks) = jwks {
            let listed = jwks
                .get("keys")
                .and_then(Value::as_array)
                .ok_or_else(|| KeyError::new("JWKS", "the document has no list `keys`"))?;
            let before = all.len();
            all.extend(listed.iter().filter_map(Named::of_jwk));
            passed_over = listed.len() - (all.len() - before);
        }
        Ok(Self {
            keys: all,
            passed_over,
            rules: rules.clone(),
        })
    }

    /// Number of keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Number of keys of the JWKS that were ignored.
    #[must_use]
    pub fn passed_over(&self) -> usize {
        self.passed_over
    }

    /// Verifies a token at the time `now`; returns its bearer's identity.
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn verify(&self, token: &str, now: Millis) -> Result<Identity, TokenError> {
        claims::identity(&self.payload(token)?, &self.rules, now)
    }

    /// Verifies the signature of a JWS in compact form; returns its payload. Claims are not checked.
    ///
    /// Keys with the header's `kid` are tried first, then keys without a key id. For a header without `kid` all keys of its
    /// algorithm are tried.
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn payload(&self, token: &str) -> Result<Vec<u8>, TokenError> {
        let jws = Jws::parse(token)?;
        let asked = jws.kid.as_deref();
        let of_alg = || self.keys.iter().filter(|it| it.key.alg() == jws.alg);
        let named = of_alg().filter(|it| asked.is_none_or(|kid| it.kid.as_deref() == Some(kid)));
        let unnamed = of_alg().filter(|it| asked.is_some() && it.kid.is_none());
        let mut fitting = named.chain(unnamed).take(KEYS_TRIED_MAX).peekable();
        if fitting.peek().is_none() {
            return Err(TokenError::NoKey);
        }
        if fitting.any(|it| it.key.verifies(jws.signed, &jws.signature)) {
            Ok(jws.payload)
        } else {
            Err(TokenError::Signature)
        }
    }
}
