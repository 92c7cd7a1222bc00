//! The one verifier of viewers' tokens, for the session of a PoP and for the REST interface of an origin.
//!
//! A token is a JWS in compact form (RFC 7515) whose payload is a set of claims (RFC 7519).
//! [`Verifier::verify`] does what a token goes through, in this order; the first that fails names the error:
//!
//! | step | where |
//! | --- | --- |
//! | length, three parts, canonical base64url, a header whose members are ours to understand | [`Verifier::payload`] |
//! | a key of the header's algorithm and key id, and its signature | [`Verifier::payload`] |
//! | who, until when, from when, by whom, for whom, as what | `claims` |
//!
//! **Invariant**: no clock, no randomness, no environment; the time is handed in. Nothing of a token is believed before
//! its signature is, but which key to try.

mod claims;
mod jws;
mod key;
mod verifier;

pub use claims::{Identity, Role};
pub use key::{Key, KeyError};
pub use verifier::{TOKEN_BYTES_MAX, TokenError, Verifier};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

/// A JSON object whose members have names of their own: of two with one name, two readers may take different ones
/// (RFC 7515, section 4; RFC 7519, section 4).
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
    /// `None` when the bytes are not one JSON object, or one with a member twice.
    fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}
