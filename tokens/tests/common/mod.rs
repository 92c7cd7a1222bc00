//! Tokens made letter by letter, so that every part can be wrong.

#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(unreachable_pub, reason = "shared by the test files")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chorus_protocol::Millis;
use chorus_protocol::tokens::{TokenKey, TokenRules};
use chorus_tokens::{Identity, TokenError, Verifier};
use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{Algorithm, AlgorithmSignature};
use serde_json::{Value, json};

pub const NOW: Millis = Millis(1_800_000_000_000);
pub const NOW_S: u64 = NOW.0 / 1_000;
pub const SECRET: [u8; 32] = [5; 32];
pub const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Two parts, and the third that [`SECRET`] makes of them.
pub fn sign_parts(header: &str, payload: &str) -> String {
    let signed = format!("{header}.{payload}");
    let signature = Hs256.sign(&Hs256Key::new(SECRET), signed.as_bytes());
    format!("{signed}.{}", b64(signature.as_bytes()))
}

/// A token of a header and claims as texts.
pub fn sign(header: &str, claims: &str) -> String {
    sign_parts(&b64(header), &b64(claims))
}

/// Claims that are good, with some changed; null takes one away.
pub fn claims(changed: Value) -> String {
    let mut claims = json!({"sub": "ann", "name": "Ann", "role": "moderator", "exp": NOW_S + 600});
    if let (Some(all), Value::Object(changed)) = (claims.as_object_mut(), changed) {
        for (name, value) in changed {
            if value.is_null() {
                all.remove(&name);
            } else {
                all.insert(name, value);
            }
        }
    }
    claims.to_string()
}

pub fn key() -> TokenKey {
    TokenKey::HS256 {
        kid: None,
        secret: b64(SECRET),
    }
}

pub fn verifier(rules: &TokenRules) -> Verifier {
    Verifier::try_new(&[key()], None, rules).expect("a key")
}

/// What the default rules say of a token.
pub fn verify(token: &str) -> Result<Identity, TokenError> {
    verifier(&TokenRules::default()).verify(token, NOW)
}

/// What the default rules say of claims.
pub fn verify_claims(changed: Value) -> Result<Identity, TokenError> {
    verify(&sign(HEADER, &claims(changed)))
}

/// What the default rules say of a header.
pub fn verify_header(header: &str) -> Result<Identity, TokenError> {
    verify(&sign(header, &claims(json!({}))))
}
