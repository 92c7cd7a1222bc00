//! Tokens of the REST interface: JWTs of four algorithms, checked against the configured keys; and, in the development
//! mode, issued.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chorus_protocol::session::TokenKey;
use chorus_protocol::{Millis, UserId, text};
use jwt_compact::alg::{
    Ed25519, Es256, Hs256, Hs256Key, Rsa, RsaPublicKey, StrongAlg, StrongKey, VerifyingKey as _,
};
use jwt_compact::jwk::JsonWebKey;
use jwt_compact::{Algorithm, AlgorithmExt as _, Header, UntrustedToken};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::problem::Problem;

/// A longer token is refused unread.
const TOKEN_BYTES_MAX: usize = 4_096;
/// Keys tried on one token at the most.
const KEYS_TRIED_MAX: usize = 8;
/// A shorter HS256 secret is refused (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// How long a token of the development mode is good.
const DEV_TOKEN_S: u64 = 24 * 3_600;

/// A configured key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{alg} key: {why}")]
pub struct KeyError {
    alg: &'static str,
    why: String,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the token cannot be read")]
    Malformed,
    #[error("no key fits the token's algorithm and key id")]
    NoKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) user: UserId,
    pub(super) role: String,
}

#[derive(Clone, Deserialize)]
struct Body {
    sub: UserId,
    #[serde(default)]
    role: Option<String>,
}

type Ed25519Key = <Ed25519 as Algorithm>::VerifyingKey;
type Es256Key = <Es256 as Algorithm>::VerifyingKey;

enum Key {
    Hs256(Hs256Key),
    EdDsa(Ed25519Key),
    Es256(Es256Key),
    Rs256(StrongKey<RsaPublicKey>),
}

/// The keys.
pub(super) struct Tokens {
    keys: Vec<(Option<String>, Key)>,
    dev: Option<Hs256Key>,
}

/// The body of `POST /api/dev/token`.
#[derive(Deserialize)]
pub(super) struct DevTokenRequest {
    username: String,
    #[serde(default)]
    role: Option<String>,
}

/// The answer to `POST /api/dev/token`.
#[derive(Serialize)]
pub(super) struct DevToken {
    token: String,
    user_id: UserId,
}

impl Tokens {
    pub(super) fn try_new(keys: &[TokenKey], dev: Option<&str>) -> Result<Self, KeyError> {
        let mut keys = keys.iter().map(read_key).collect::<Result<Vec<_>, _>>()?;
        let dev = dev.map(hs256).transpose()?;
        if let Some(key) = &dev {
            keys.push((None, Key::Hs256(key.clone())));
        }
        Ok(Self { keys, dev })
    }

    pub(super) fn verify(&self, token: &str, now: Millis) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let token = UntrustedToken::new(token).map_err(|_| TokenError::Malformed)?;
        let asked = token.header().key_id.as_deref();
        let fitting = self.keys.iter().filter(|(kid, key)| {
            key.alg() == token.algorithm()
                && match (asked, kid.as_deref()) {
                    (Some(asked), Some(kid)) => asked == kid,
                    (None, _) | (_, None) => true,
                }
        });
        let mut refused = TokenError::NoKey;
        for (_, key) in fitting.take(KEYS_TRIED_MAX) {
            match key.validate(&token) {
                Ok(claims) => return accept(claims, now),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Issues a token of the development mode. The same name is the same user, so that a new token restores writing.
    pub(super) fn issue(&self, asked: &DevTokenRequest, now: Millis) -> Result<DevToken, KeyError> {
        #[derive(Serialize)]
        struct Issued<'a> {
            sub: &'a UserId,
            name: &'a str,
            role: &'a str,
            iat: u64,
            exp: u64,
        }
        let failed = |why: &dyn fmt::Display| KeyError {
            alg: "HS256",
            why: why.to_string(),
        };
        let key = self.dev.as_ref().ok_or_else(|| failed(&"none"))?;
        let slug: String = asked
            .username
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(32)
            .collect();
        // Names that make the same slug stay two users.
        let digest = Sha256::digest(asked.username.as_bytes());
        let user_id = UserId::new(&format!(
            "{slug}-{:02x}{:02x}{:02x}{:02x}",
            digest[0], digest[1], digest[2], digest[3]
        ))
        .map_err(|error| failed(&error))?;
        let issued = Issued {
            sub: &user_id,
            name: &asked.username,
            role: asked.role.as_deref().unwrap_or("user"),
            iat: now.0 / 1_000,
            exp: now.0 / 1_000 + DEV_TOKEN_S,
        };
        let token = Hs256
            .token(&Header::empty(), &jwt_compact::Claims::new(issued), key)
            .map_err(|error| failed(&error))?;
        Ok(DevToken { token, user_id })
    }
}

impl DevTokenRequest {
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let mut asked: Self = serde_json::from_slice(body)
            .map_err(|error| Problem::bad_request(format!("the body cannot be read: {error}")))?;
        asked.username = text::name(&asked.username)
            .map_err(|error| Problem::bad_request(format!("`username` cannot be taken: {error}")))?
            .into_owned();
        match asked.role.as_deref() {
            None | Some("user" | "moderator" | "admin") => Ok(asked),
            Some(_) => Err(Problem::bad_request("`role` is user, moderator or admin")),
        }
    }
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
    ) -> Result<jwt_compact::Claims<Body>, TokenError> {
        let validated = match self {
            Self::Hs256(key) => Hs256.validator::<Body>(key).validate(token),
            Self::EdDsa(key) => Ed25519.validator::<Body>(key).validate(token),
            Self::Es256(key) => Es256.validator::<Body>(key).validate(token),
            Self::Rs256(key) => StrongAlg(Rsa::rs256())
                .validator::<Body>(key)
                .validate(token),
        };
        match validated {
            Ok(token) => Ok(token.claims().clone()),
            Err(jwt_compact::ValidationError::MalformedClaims(_)) => Err(TokenError::Malformed),
            Err(_) => Err(TokenError::Signature),
        }
    }
}

fn accept(claims: jwt_compact::Claims<Body>, now: Millis) -> Result<Claims, TokenError> {
    let ms = |time: i64| Millis(u64::try_from(time).unwrap_or(0));
    // Without an `exp` a token would never end.
    let expires = claims.expiration.ok_or(TokenError::Malformed)?;
    if ms(expires.timestamp_millis()) <= now {
        return Err(TokenError::Expired);
    }
    if claims
        .not_before
        .is_some_and(|from| ms(from.timestamp_millis()) > now)
    {
        return Err(TokenError::NotYet);
    }
    Ok(Claims {
        user: claims.custom.sub,
        role: claims.custom.role.unwrap_or_else(|| "user".to_owned()),
    })
}

fn read_key(key: &TokenKey) -> Result<(Option<String>, Key), KeyError> {
    Ok(match key {
        TokenKey::HS256 { kid, secret } => (kid.clone(), Key::Hs256(hs256(secret)?)),
        TokenKey::EdDSA { kid, public } => {
            let key = Ed25519Key::from_slice(&bytes("EdDSA", public)?);
            (kid.clone(), Key::EdDsa(key.map_err(unusable("EdDSA"))?))
        }
        TokenKey::ES256 { kid, public } => {
            let key = Es256Key::from_slice(&bytes("ES256", public)?);
            (kid.clone(), Key::Es256(key.map_err(unusable("ES256"))?))
        }
        TokenKey::RS256 { kid, n, e } => {
            let jwk = JsonWebKey::Rsa {
                modulus: bytes("RS256", n)?.into(),
                public_exponent: bytes("RS256", e)?.into(),
                private_parts: None,
            };
            let key = RsaPublicKey::try_from(&jwk).map_err(unusable("RS256"))?;
            let strong = StrongKey::try_from(key).map_err(|_| KeyError {
                alg: "RS256",
                why: "the modulus must have 2048, 3072 or 4096 bits".to_owned(),
            })?;
            (kid.clone(), Key::Rs256(strong))
        }
    })
}

fn hs256(secret: &str) -> Result<Hs256Key, KeyError> {
    let secret = bytes("HS256", secret)?;
    if secret.len() < SECRET_BYTES_MIN {
        return Err(KeyError {
            alg: "HS256",
            why: "the secret must have 32 bytes or more".to_owned(),
        });
    }
    Ok(Hs256Key::new(secret))
}

fn bytes(alg: &'static str, text: &str) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError {
        alg,
        why: "is not base64url without padding".to_owned(),
    })
}

fn unusable<E: fmt::Display>(alg: &'static str) -> impl Fn(E) -> KeyError {
    move |error| KeyError {
        alg,
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    fn dev(byte: u8) -> Tokens {
        let secret = URL_SAFE_NO_PAD.encode([byte; 32]);
        Tokens::try_new(&[], Some(&secret)).expect("a key")
    }

    #[test]
    fn an_issued_token_is_good_for_a_day_and_only_here() {
        let asked = DevTokenRequest::read(br#"{"username":" Ada L. "}"#).expect("sane");
        let issued = dev(1).issue(&asked, NOW).expect("issued");
        assert!(issued.user_id.as_str().starts_with("ada-l--"));
        let again = dev(1).issue(&asked, NOW.plus(5)).expect("issued");
        assert_eq!(again.user_id, issued.user_id);
        let other = DevTokenRequest::read(br#"{"username":"Ada L!"}"#).expect("sane");
        let other = dev(1).issue(&other, NOW).expect("issued");
        assert_ne!(other.user_id, issued.user_id);
        let claims = dev(1).verify(&issued.token, NOW).expect("good");
        assert_eq!(
            (claims.user, claims.role.as_str()),
            (issued.user_id, "user")
        );
        let later = NOW.plus(DEV_TOKEN_S * 1_000);
        assert_eq!(
            dev(1).verify(&issued.token, later),
            Err(TokenError::Expired)
        );
        assert_eq!(
            dev(2).verify(&issued.token, NOW),
            Err(TokenError::Signature)
        );
    }

    #[test]
    fn tokens_without_a_signature_or_an_end_are_refused() {
        let none = format!(
            "{}.{}.",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
            URL_SAFE_NO_PAD.encode(r#"{"sub":"u","exp":9999999999}"#)
        );
        assert!(dev(1).verify(&none, NOW).is_err());
        assert_eq!(dev(1).verify("x", NOW), Err(TokenError::Malformed));
        assert!(DevTokenRequest::read(br#"{"username":"  "}"#).is_err());
        assert!(DevTokenRequest::read("{\"username\":\"\u{200b}\u{202e}\"}".as_bytes()).is_err());
        let evil = DevTokenRequest::read("{\"username\":\"\u{202e}evil\"}".as_bytes());
        assert_eq!(evil.expect("a name").username, "evil");
        assert!(DevTokenRequest::read(br#"{"username":"a","role":"root"}"#).is_err());
    }
}
