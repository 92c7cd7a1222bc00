//! The compact form of a JWS: three parts, and a header of which nothing is demanded that we do not know.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::Members;
use crate::verifier::{TOKEN_BYTES_MAX, TokenError};

/// Types of tokens that are taken (RFC 8725, 3.11): of another type a token is meant for something else, whoever
/// signed it. An `application/` before it says nothing (RFC 7515, 4.1.9).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// A token taken apart, nothing verified.
pub(crate) struct Jws<'a> {
    /// What the signature is over.
    pub(crate) signed: &'a [u8],
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed("it is too long"));
        }
        // More than two dots leave one in a part, which is no base64url.
        let (signed, signature) = token
            .rsplit_once('.')
            .ok_or(TokenError::Malformed("it has no three parts"))?;
        let (header, payload) = signed
            .split_once('.')
            .ok_or(TokenError::Malformed("it has no three parts"))?;
        let header = Members::read(&decode(header)?)
            .ok_or(TokenError::Malformed("its header is no JSON object"))?;
        let text = |name: &'static str, wrong: &'static str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(TokenError::Malformed(wrong)),
        };
        let alg =
            text("alg", "`alg` is no text")?.ok_or(TokenError::Malformed("it has no `alg`"))?;
        let kid = text("kid", "`kid` is no text")?;
        if header.get("crit").is_some() || header.get("b64").is_some_and(|b64| b64 != true) {
            return Err(TokenError::Critical);
        }
        let typ = text("typ", "`typ` is no text")?.map(|typ| typ.to_ascii_lowercase());
        if typ.is_some_and(|typ| !TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ)))
        {
            return Err(TokenError::Malformed("it is of another `typ`"));
        }
        // `cty: JWT` is a token within a token.
        let cty = text("cty", "`cty` is no text")?;
        if cty.is_some_and(|cty| !cty.eq_ignore_ascii_case("json")) {
            return Err(TokenError::Malformed("its content is of another type"));
        }
        Ok(Self {
            signed: signed.as_bytes(),
            alg,
            kid,
            payload: decode(payload)?,
            signature: decode(signature)?,
        })
    }
}

/// Only the one canonical form: no padding, no bits left over.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed("a part is no base64url"))
}
