//! The verifier of viewers' tokens, used by the session of a PoP and by the REST interface of an origin.
//!
//! A token is a JWS in compact form (RFC 7515) whose payload is a set of claims (RFC 7519). [`Verifier::verify`] does these
//! steps in order; the first that fails gives the error:
//!
//! | step | where |
//! | --- | --- |
//! | length, three parts, canonical base64url, a header without unknown critical extensions | [`Verifier::payload`] |
//! | a key with the header's algorithm and key id, and its signature | [`Verifier::payload`] |
//! | user, expiry, start of validity, issuer, audience, role, name | `claims` |
//!
//! **Invariant**: no clock, no randomness, no environment; the time is a parameter. Before the signature is verified only
//! the choice of the key depends on the token.

mod claims;
mod jws;
mod key;
mod verifier;

pub use claims::{Identity, Role};
pub use key::{Key, KeyError};
pub use verifier::{TOKEN_BYTES_MAX, TokenError, Verifier};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// A JSON object without repeated names, because parsers differ in which of two members with one name they use (RFC 7515,
/// section 4; RFC 7519, section 4).
struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member comes twice"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Once)
    }
}

impl Members {
    /// Parses an object; `None` when the bytes are not exactly one JSON object, or it repeats a name.
    fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}
