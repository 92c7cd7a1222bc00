//! Parsing of a JWS in compact form: three parts, and a header without unknown critical extensions.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::Members;
use crate::verifier::{TOKEN_BYTES_MAX, TokenError};

/// Accepted types of tokens (RFC 8725, 3.11): a token of another type has another purpose, even if the signature is valid.
/// A prefix `application/` is ignored (RFC 7515, 4.1.9).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// A parsed token; nothing is verified.
pub(crate) struct Jws<'a> {
    /// The bytes that are signed.
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
        // With more than two dots a part contains a dot, which is not base64url.
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
        // `cty: JWT` would be a nested token.
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

/// Decodes base64url in canonical form: no padding, and unused bits are zero.
fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed("a part is no base64url"))
}
