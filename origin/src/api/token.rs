//! Tokens of the REST interface: verified as at a PoP and, in the development mode, issued.

use std::path::{Path, PathBuf};

use chorus_protocol::backhaul::RestRequest;
use chorus_protocol::codes::ErrorCode;
use chorus_protocol::tokens::{TokenKey, TokenRules, TokensConfig};
use chorus_protocol::{Millis, UserId};
use chorus_tokens::{Identity, KeyError, Role, TokenError, Verifier};
use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{AlgorithmExt as _, Header};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::body;
use super::problem::Problem;

/// How long a token of the development mode is good.
const DEV_TOKEN_S: u64 = 24 * 3_600;

/// Why the configured tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// A key, or a document that is no JWKS.
    #[error("tokens: {0}")]
    Key(#[from] KeyError),
    /// The document of `tokens.jwks_file`.
    #[error("tokens.jwks_file: {}: {why}", path.display())]
    Jwks {
        /// Which file.
        path: PathBuf,
        /// Why it cannot be read.
        why: String,
    },
}

/// The keys and the rules.
pub(super) struct Tokens {
    verifier: Verifier,
    rules: TokenRules,
    dev: Option<Hs256Key>,
}

/// The body of `POST /api/dev/token`.
#[derive(Deserialize)]
pub(super) struct DevTokenRequest {
    username: String,
    role: Option<String>,
}

/// The answer to `POST /api/dev/token`.
#[derive(Serialize)]
pub(super) struct DevToken {
    token: String,
    user_id: UserId,
}

impl Tokens {
    /// Takes the section `[tokens]`, with a JWKS document where it names one, and the secret of the development mode.
    pub(super) fn try_new(config: &TokensConfig, dev: Option<&str>) -> Result<Self, TokensError> {
        let mut keys = config.keys.clone();
        keys.extend(dev.map(|secret| TokenKey::HS256 {
            kid: None,
            secret: secret.to_owned(),
        }));
        let jwks = config.jwks_file.as_deref().map(read_jwks).transpose()?;
        let rules = config.rules();
        let verifier = Verifier::try_new(&keys, jwks.as_ref(), &rules)?;
        if verifier.passed_over() > 0 {
            let keys = verifier.passed_over();
            tracing::info!(keys, "keys of the JWKS are not for verifying tokens");
        }
        Ok(Self {
            verifier,
            rules,
            dev: dev.map(|secret| Hs256Key::new(body::base64url(secret).unwrap_or_default())),
        })
    }

    /// Who calls, by the `Authorization` field.
    pub(super) fn caller(&self, request: &RestRequest, now: Millis) -> Result<Identity, Problem> {
        let field = request
            .authorization
            .as_deref()
            .ok_or_else(|| Problem::unauthenticated("a token is needed"))?;
        let token = field
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim_matches(' '))
            .ok_or_else(|| {
                Problem::unauthenticated("the Authorization header is not `Bearer <token>`")
            })?;
        self.verifier.verify(token, now).map_err(|error| {
            let code = if error == TokenError::Expired {
                ErrorCode::TokenExpired
            } else {
                ErrorCode::InvalidToken
            };
            Problem::bad_token(code, &error.to_string())
        })
    }

    /// Issues a token of the development mode. The same name is the same user, so that a new token restores writing.
    pub(super) fn issue(&self, asked: &DevTokenRequest, now: Millis) -> Result<DevToken, Problem> {
        #[derive(Serialize)]
        struct Issued<'a> {
            sub: &'a UserId,
            name: &'a str,
            role: &'a str,
            iat: u64,
            exp: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            iss: Option<&'a String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            aud: Option<&'a String>,
        }
        let failed = |why: &dyn std::fmt::Display| Problem::internal(why.to_string());
        let key = self.dev.as_ref().ok_or_else(|| failed(&"no secret"))?;
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
            role: asked.role.as_deref().unwrap_or(Role::User.as_str()),
            iat: now.0 / 1_000,
            exp: now.0 / 1_000 + DEV_TOKEN_S,
            iss: self.rules.issuers.first(),
            aud: self.rules.audiences.first(),
        };
        let token = Hs256
            .token(&Header::empty(), &jwt_compact::Claims::new(issued), key)
            .map_err(|error| failed(&error))?;
        Ok(DevToken { token, user_id })
    }
}

impl DevTokenRequest {
    pub(super) fn read(request: &RestRequest) -> Result<Self, Problem> {
        let mut asked: Self = body::read(request)?;
        asked.username = body::name("username", &asked.username)?;
        match asked.role.as_deref() {
            None => Ok(asked),
            Some(role) if Role::parse(role).is_some() => Ok(asked),
            Some(_) => Err(Problem::invalid("`role` is user, moderator or admin")),
        }
    }
}

fn read_jwks(path: &Path) -> Result<serde_json::Value, TokensError> {
    let failed = |why: String| TokensError::Jwks {
        path: path.to_owned(),
        why,
    };
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests;
