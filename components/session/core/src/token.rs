//! Viewers' tokens: JWTs of four algorithms, checked against the configured keys and the time handed in.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chorus_protocol::session::TokenKey;
use chorus_protocol::{Millis, UserId, text};
use jwt_compact::alg::VerifyingKey as _;
use jwt_compact::alg::{Ed25519, Es256, Hs256, Hs256Key, Rsa, RsaPublicKey, StrongAlg, StrongKey};
use jwt_compact::jwk::JsonWebKey;
use jwt_compact::{Algorithm, AlgorithmExt, UntrustedToken, ValidationError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A longer token is refused unread.
const TOKEN_BYTES_MAX: usize = 4_096;
/// A shorter HS256 secret is refused (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Keys tried on one token at the most, so that a token costs what is known beforehand.
const KEYS_TRIED_MAX: usize = 8;

type Es256Key = <Es256 as Algorithm>::VerifyingKey;
type Ed25519Key = <Ed25519 as Algorithm>::VerifyingKey;

/// Why a token, or a key for them, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JWT, or its claims are not ours.
    #[error("the token cannot be read")]
    Malformed,
    /// No configured key is of its algorithm and name.
    #[error("no key fits the token's algorithm and key id")]
    NoKey,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// Past `exp`.
    #[error("the token has expired")]
    Expired,
    /// No `exp`.
    #[error("the token has no `exp`")]
    NoExpiry,
    /// Before `nbf`.
    #[error("the token is not valid yet")]
    NotYet,
    /// A key of the configuration is unusable.
    #[error("{alg} key: {why}")]
    Key {
        /// Its algorithm.
        alg: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// What a token lets its bearer be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May write.
    #[default]
    User,
    /// Exempt from the modes of streams.
    Moderator,
    /// The platform's own services: exempt from rates too.
    Admin,
}

/// Who a viewer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The token's `sub`.
    pub user: UserId,
    /// The name shown.
    pub name: Box<str>,
    /// The token's `role`.
    pub role: Role,
    /// The token's `exp`.
    pub expires: Millis,
}

#[derive(Clone, Deserialize)]
struct Claims {
    sub: UserId,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    role: Role,
}

enum Key {
    Hs256(Hs256Key),
    EdDsa(Ed25519Key),
    Es256(Es256Key),
    Rs256(StrongKey<RsaPublicKey>),
}

impl Key {
    fn alg(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::EdDsa(_) => "EdDSA",
            Self::Es256(_) => "ES256",
            Self::Rs256(_) => "RS256",
        }
    }

    fn validate(
        &self,
        token: &UntrustedToken<'_>,
    ) -> Result<jwt_compact::Token<Claims>, TokenError> {
        match self {
            Self::Hs256(key) => Hs256.validator::<Claims>(key).validate(token),
            Self::EdDsa(key) => Ed25519.validator::<Claims>(key).validate(token),
            Self::Es256(key) => Es256.validator::<Claims>(key).validate(token),
            Self::Rs256(key) => StrongAlg(Rsa::rs256())
                .validator::<Claims>(key)
                .validate(token),
        }
        .map_err(|error| {
            if matches!(error, ValidationError::MalformedClaims(_)) {
                TokenError::Malformed
            } else {
                TokenError::Signature
            }
        })
    }
}

struct Named {
    kid: Option<String>,
    key: Key,
}

/// Checks tokens against the configured keys.
pub struct Verifier {
    keys: Vec<Named>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the keys: some are secrets.
        write!(f, "Verifier({} keys)", self.keys.len())
    }
}

impl Verifier {
    /// Takes the keys of the configuration and of a JWKS document. Keys of a JWKS that are of none of our
    /// algorithms, or are not for signatures, are passed over, as RFC 7517 asks.
    ///
    /// # Errors
    /// A configured key that cannot be used.
    pub fn new(keys: &[TokenKey], jwks: Option<&Value>) -> Result<Self, TokenError> {
        let mut all = keys.iter().map(configured).collect::<Result<Vec<_>, _>>()?;
        if let Some(jwks) = jwks {
            let listed = jwks
                .get("keys")
                .and_then(Value::as_array)
                .ok_or(TokenError::Key {
                    alg: "JWKS",
                    why: "has no `keys`".to_owned(),
                })?;
            all.extend(listed.iter().filter_map(from_jwk));
        }
        Ok(Self { keys: all })
    }

    /// Who the bearer of a token is, at a time.
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn verify(&self, token: &str, now: Millis) -> Result<Identity, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let token = UntrustedToken::new(token).map_err(|_| TokenError::Malformed)?;
        let kid = token.header().key_id.as_deref();
        let fitting = self.keys.iter().filter(|named| {
            named.key.alg() == token.algorithm()
                && match (kid, named.kid.as_deref()) {
                    (Some(asked), Some(known)) => asked == known,
                    _ => true,
                }
        });
        let mut refused = TokenError::NoKey;
        for named in fitting.take(KEYS_TRIED_MAX) {
            match named.key.validate(&token) {
                Ok(token) => return accept(token.claims(), now),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

fn accept(claims: &jwt_compact::Claims<Claims>, now: Millis) -> Result<Identity, TokenError> {
    let ms = |time: i64| Millis(u64::try_from(time).unwrap_or(0));
    let expires = ms(claims
        .expiration
        .ok_or(TokenError::NoExpiry)?
        .timestamp_millis());
    if expires <= now {
        return Err(TokenError::Expired);
    }
    if claims
        .not_before
        .is_some_and(|from| ms(from.timestamp_millis()) > now)
    {
        return Err(TokenError::NotYet);
    }
    let Claims { sub, name, role } = claims.custom.clone();
    let name = text::shown_name(name.as_deref(), sub.as_str()).into();
    Ok(Identity {
        user: sub,
        name,
        role,
        expires,
    })
}

fn bytes(alg: &'static str, text: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Key {
        alg,
        why: "is not base64url without padding".to_owned(),
    })
}

fn unusable(alg: &'static str, why: impl fmt::Display) -> TokenError {
    TokenError::Key {
        alg,
        why: why.to_string(),
    }
}

fn configured(key: &TokenKey) -> Result<Named, TokenError> {
    let (kid, key) = match key {
        TokenKey::HS256 { kid, secret } => (kid, Key::Hs256(hs256(&bytes("HS256", secret)?)?)),
        TokenKey::EdDSA { kid, public } => {
            let key = Ed25519Key::from_slice(&bytes("EdDSA", public)?)
                .map_err(|e| unusable("EdDSA", e))?;
            (kid, Key::EdDsa(key))
        }
        TokenKey::ES256 { kid, public } => {
            let key =
                Es256Key::from_slice(&bytes("ES256", public)?).map_err(|e| unusable("ES256", e))?;
            (kid, Key::Es256(key))
        }
        TokenKey::RS256 { kid, n, e } => {
            let jwk = JsonWebKey::Rsa {
                modulus: bytes("RS256", n)?.into(),
                public_exponent: bytes("RS256", e)?.into(),
                private_parts: None,
            };
            (kid, Key::Rs256(rs256(&jwk)?))
        }
    };
    Ok(Named {
        kid: kid.clone(),
        key,
    })
}

fn hs256(secret: &[u8]) -> Result<Hs256Key, TokenError> {
    if secret.len() < SECRET_BYTES_MIN {
        return Err(unusable("HS256", "the secret must have 32 bytes or more"));
    }
    Ok(Hs256Key::new(secret))
}

fn rs256(jwk: &JsonWebKey<'_>) -> Result<StrongKey<RsaPublicKey>, TokenError> {
    let key = RsaPublicKey::try_from(jwk).map_err(|e| unusable("RS256", e))?;
    StrongKey::try_from(key)
        .map_err(|_| unusable("RS256", "the modulus must have 2048, 3072 or 4096 bits"))
}

/// A key of a JWKS; `None` when it is not one for our tokens.
fn from_jwk(value: &Value) -> Option<Named> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|usage| usage != "sig") {
        return None;
    }
    let jwk = JsonWebKey::deserialize(value).ok()?;
    let key = match &jwk {
        JsonWebKey::Rsa { .. } => Key::Rs256(rs256(&jwk).ok()?),
        JsonWebKey::EllipticCurve { .. } => Key::Es256(Es256Key::try_from(&jwk).ok()?),
        JsonWebKey::KeyPair { .. } => Key::EdDsa(Ed25519Key::try_from(&jwk).ok()?),
        JsonWebKey::Symmetric { secret } => Key::Hs256(hs256(secret).ok()?),
        _ => return None,
    };
    // The document may say that a key is for another algorithm of its type (`RS512`): then it is not ours.
    if text("alg").is_some_and(|alg| alg != key.alg()) {
        return None;
    }
    Some(Named {
        kid: text("kid").map(str::to_owned),
        key,
    })
}
