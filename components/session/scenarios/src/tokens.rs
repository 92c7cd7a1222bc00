//! Tokens as an identity provider would sign them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chorus_protocol::tokens::TokenKey;
use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{AlgorithmExt, Claims, Header};
use serde_json::{Value, json};

/// The secret of the scenarios' HS256 key.
pub const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

/// The configured key that belongs to [`SECRET`].
#[must_use]
pub fn key() -> TokenKey {
    TokenKey::HS256 {
        kid: Some("main".to_owned()),
        secret: URL_SAFE_NO_PAD.encode(SECRET),
    }
}

/// A token with any claims.
#[must_use]
pub fn with_claims(claims: &Value, secret: &[u8]) -> String {
    let header = Header::empty().with_key_id("main");
    Hs256
        .token(&header, &Claims::new(claims), &Hs256Key::new(secret))
        .expect("signs")
}

/// A token of a role that ends at a time.
#[must_use]
pub fn token(user: &str, role: &str, expires_ms: u64) -> String {
    let claims = json!({"sub": user, "name": user, "role": role, "exp": expires_ms / 1_000});
    with_claims(&claims, SECRET)
}

/// A token that nobody signed.
#[must_use]
pub fn unsigned(user: &str, expires_ms: u64) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"sub": user, "exp": expires_ms / 1_000});
    format!(
        "{}.{}.",
        part(json!({"alg": "none", "typ": "JWT"})),
        part(claims)
    )
}
