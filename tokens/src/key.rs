//! Keys from the configuration and from a JWKS, and verification of signatures.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chorus_protocol::tokens::TokenKey;
use jwt_compact::alg::VerifyingKey as _;
use jwt_compact::alg::{Ed25519, Es256, Hs256, Hs256Key, Rsa, RsaPublicKey, StrongAlg, StrongKey};
use jwt_compact::jwk::JsonWebKey;
use jwt_compact::{Algorithm, AlgorithmSignature as _};
use serde::Deserialize as _;
use serde_json::Value;

use crate::verifier::Named;

/// Bytes of an HS256 secret, at least (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;

type Es256Key = <Es256 as Algorithm>::VerifyingKey;
type Ed25519Key = <Ed25519 as Algorithm>::VerifyingKey;

/// A configured key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{alg} key: {why}")]
pub struct KeyError {
    alg: &'static str,
    why: String,
}

impl KeyError {
    pub(crate) fn new(alg: &'static str, why: impl fmt::Display) -> Self {
        Self {
            alg,
            why: why.to_string(),
        }
    }
}

/// A key; it verifies signatures of exactly one algorithm.
pub struct Key(Kind);

enum Kind {
    Hs256(Hs256Key),
    EdDsa(Ed25519Key),
    Es256(Es256Key),
    Rs256(StrongKey<RsaPublicKey>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is not printed, because it may be a secret.
        write!(f, "Key({})", self.alg())
    }
}

impl Key {
    /// Reads a configured key.
    ///
    /// # Errors
    /// Why the key cannot be used.
    pub fn try_new(key: &TokenKey) -> Result<Self, KeyError> {
        let kind = match key {
            TokenKey::HS256 { secret, .. } => {
                Kind::Hs256(hs256(&bytes("HS256", "secret", secret)?)?)
            }
            TokenKey::EdDSA { public, .. } => {
                let key = Ed25519Key::from_slice(&bytes("EdDSA", "public", public)?)
                    .map_err(|error| KeyError::new("EdDSA", error))?;
                Kind::EdDsa(strong(key).ok_or_else(|| {
                    KeyError::new(
                        "EdDSA",
                        "the point is of small order: any signature would do",
                    )
                })?)
            }
            TokenKey::ES256 { public, .. } => {
                let key = Es256Key::from_slice(&bytes("ES256", "public", public)?);
                Kind::Es256(key.map_err(|error| KeyError::new("ES256", error))?)
            }
            TokenKey::RS256 { n, e, .. } => {
                let jwk = JsonWebKey::Rsa {
                    modulus: bytes("RS256", "n", n)?.into(),
                    public_exponent: bytes("RS256", "e", e)?.into(),
                    private_parts: None,
                };
                Kind::Rs256(rs256(&jwk)?)
            }
        };
        Ok(Self(kind))
    }

    /// Reads a key of a JWKS; `None` when it is not for verifying signatures of a supported algorithm.
    #[must_use]
    pub fn of_jwk(value: &Value) -> Option<Self> {
        let says = |name: &str, fits: &dyn Fn(&Value) -> bool| value.get(name).is_none_or(fits);
        // A key published for another use must not verify signatures (RFC 7517, 4.2 and 4.3).
        let verifies = says("use", &|usage| usage == "sig")
            && says("key_ops", &|operations| {
                operations
                    .as_array()
                    .is_some_and(|all| all.iter().any(|one| one == "verify"))
            });
        if !verifies {
            return None;
        }
        let jwk = JsonWebKey::deserialize(value).ok()?;
        let kind = match &jwk {
            JsonWebKey::Rsa { .. } => Kind::Rs256(rs256(&jwk).ok()?),
            JsonWebKey::EllipticCurve { .. } => Kind::Es256(Es256Key::try_from(&jwk).ok()?),
            JsonWebKey::KeyPair { .. } => Kind::EdDsa(strong(Ed25519Key::try_from(&jwk).ok()?)?),
            JsonWebKey::Symmetric { secret } => Kind::Hs256(hs256(secret).ok()?),
            _ => return None,
        };
        let key = Self(kind);
        // The document may restrict the key to another algorithm of its type, such as `RS512`.
        says("alg", &|alg| alg == key.alg()).then_some(key)
    }

    /// Its algorithm, as named by `alg` in headers.
    #[must_use]
    pub fn alg(&self) -> &'static str {
        match self.0 {
            Kind::Hs256(_) => "HS256",
            Kind::EdDsa(_) => "EdDSA",
            Kind::Es256(_) => "ES256",
            Kind::Rs256(_) => "RS256",
        }
    }

    /// Whether the signature of the message is valid. Its form is that of RFC 7518: for ES256 two numbers of 32 bytes, not
    /// DER.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Kind::Hs256(key) => good(&Hs256, key, message, signature),
            Kind::EdDsa(key) => <Ed25519 as Algorithm>::Signature::try_from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Kind::Es256(key) => good(&Es256, key, message, signature),
            Kind::Rs256(key) => good(&StrongAlg(Rsa::rs256()), key, message, signature),
        }
    }
}

impl Named {
    /// Reads a key of a JWKS with its `kid`; `None` when it is not for verifying signatures of a supported algorithm.
    pub(crate) fn of_jwk(value: &Value) -> Option<Self> {
        let kid = match value.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return None,
        };
        let key = Key::of_jwk(value)?;
        Some(Self { kid, key })
    }
}

fn good<A: Algorithm>(
    algorithm: &A,
    key: &A::VerifyingKey,
    message: &[u8],
    signature: &[u8],
) -> bool {
    // The library does not check the length of a signature whose length is fixed.
    A::Signature::LENGTH.is_none_or(|length| length.get() == signature.len())
        && A::Signature::try_from_slice(signature)
            .is_ok_and(|signature| algorithm.verify_signature(&signature, key, message))
}

fn bytes(alg: &'static str, field: &str, text: &str) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| {
        KeyError::new(
            alg,
            format_args!("`{field}` is not base64url without padding"),
        )
    })
}

fn hs256(secret: &[u8]) -> Result<Hs256Key, KeyError> {
    if secret.len() < SECRET_BYTES_MIN {
        return Err(KeyError::new(
            "HS256",
            "the secret must have 32 bytes or more before it is encoded",
        ));
    }
    Ok(Hs256Key::new(secret))
}

/// The key, unless it is a point of small order.
fn strong(key: Ed25519Key) -> Option<Ed25519Key> {
    (!key.is_weak()).then_some(key)
}

fn rs256(jwk: &JsonWebKey<'_>) -> Result<StrongKey<RsaPublicKey>, KeyError> {
    let key = RsaPublicKey::try_from(jwk).map_err(|error| KeyError::new("RS256", error))?;
    StrongKey::try_from(key)
        .map_err(|_| KeyError::new("RS256", "the modulus must have 2048, 3072 or 4096 bits"))
}
