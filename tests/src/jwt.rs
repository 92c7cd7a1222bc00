//! Makes valid and invalid tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// Seconds since 1970.
#[must_use]
pub fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Claims of a token that expires `expires_in_s` seconds from now; negative: in the past.
#[must_use]
pub fn claims(user: &str, role: &str, expires_in_s: i64) -> Value {
    json!({
        "sub": user,
        "name": user,
        "role": role,
        "iat": now_s().saturating_sub(3_600),
        "exp": now_s().saturating_add_signed(expires_in_s),
    })
}

/// Signs claims with HMAC-SHA-256; the secret is base64url, as in the configuration.
///
/// # Errors
/// When the secret is not base64url.
pub fn hs256(secret: &str, claims: &Value) -> Result<String> {
    let key = URL_SAFE_NO_PAD
        .decode(secret)
        .context("a secret that is no base64url")?;
    let signed = unsigned(&json!({ "alg": "HS256", "typ": "JWT" }), claims);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).context("a key that is none")?;
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    Ok(format!("{signed}.{signature}"))
}

/// A token with the algorithm `none`.
#[must_use]
pub fn none(claims: &Value) -> String {
    format!(
        "{}.",
        unsigned(&json!({ "alg": "none", "typ": "JWT" }), claims)
    )
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}
