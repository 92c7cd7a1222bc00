//! Keys and rules together: from a token to who bears it.

use std::fmt;

use chorus_protocol::Millis;
use chorus_protocol::tokens::{TokenKey, TokenRules};
use serde_json::Value;

use crate::claims::{self, Identity};
use crate::jws::Jws;
use crate::key::{Key, KeyError};

/// A longer token is refused unread.
pub const TOKEN_BYTES_MAX: usize = 4_096;
/// Keys tried on one token at the most, so that a token costs what is known beforehand.
const KEYS_TRIED_MAX: usize = 8;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JWT, or not one of ours: what is wrong with it.
    #[error("the token cannot be read: {0}")]
    Malformed(&'static str),
    /// Its header has `crit`, or `b64: false`: it may not be read without understanding them (RFC 7515, 4.1.11).
    #[error("the token's header has an extension that is not understood")]
    Critical,
    /// No configured key is of its algorithm and name.
    #[error("no key fits the token's algorithm and key id")]
    NoKey,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// Past `exp` and the leeway.
    #[error("the token has expired")]
    Expired,
    /// No `exp`.
    #[error("the token has no `exp`")]
    NoExpiry,
    /// Before `nbf` less the leeway.
    #[error("the token is not valid yet")]
    NotYet,
    /// `iss` is none of the configured ones.
    #[error("the token is of another issuer")]
    Issuer,
    /// `aud` has none of the configured ones.
    #[error("the token is for another audience")]
    Audience,
}

/// A key with its name in tokens' headers.
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
        // Never the keys: some are secrets.
        write!(f, "Verifier({} keys, {:?})", self.keys.len(), self.rules)
    }
}

impl Verifier {
    /// Takes the keys of the configuration and of a JWKS document. Keys of a JWKS that are of none of our
    /// algorithms, or are not for verifying signatures, are passed over, as RFC 7517 asks.
    ///
    /// # Errors
    /// A configured key that cannot be used, or a document that is no JWKS.
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

    /// How many keys it has.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// How many keys of the JWKS are not ours to verify with.
    #[must_use]
    pub fn passed_over(&self) -> usize {
        self.passed_over
    }

    /// Who the bearer of a token is, at a time.
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn verify(&self, token: &str, now: Millis) -> Result<Identity, TokenError> {
        claims::identity(&self.payload(token)?, &self.rules, now)
    }

    /// What a JWS in compact form carries, once one of the keys has verified its signature. Claims are not looked at.
    ///
    /// A key with the header's `kid` is tried first, then those without a name; a header without `kid` has all keys of
    /// its algorithm tried.
    ///
    /// # Errors
    /// Why it is refused.
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
