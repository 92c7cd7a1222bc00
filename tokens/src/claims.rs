//! Checks the claims of a verified token and reads the bearer's identity from them.

use chorus_protocol::tokens::TokenRules;
use chorus_protocol::{Millis, UserId, text};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Members;
use crate::verifier::TokenError;

/// The last second of the year 9999. A later time is probably given in milliseconds, and the token would never expire.
const NUMERIC_DATE_S_MAX: u64 = 253_402_300_799;

/// The role that a token gives its bearer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May read and write.
    #[default]
    User,
    /// Also moderates; exempt from the modes of streams.
    Moderator,
    /// For the platform's own services; also exempt from rate limits.
    Admin,
}

impl Role {
    /// The role of this name, if there is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "user" => Some(Self::User),
            "moderator" => Some(Self::Moderator),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    /// Its name in tokens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Moderator => "moderator",
            Self::Admin => "admin",
        }
    }
}

/// The identity of a token's bearer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The token's `sub`.
    pub user: UserId,
    /// The displayed name: the token's `name` cleaned by [`text::shown_name`], or its `sub` if nothing visible is left.
    pub name: Box<str>,
    /// The token's `role`.
    pub role: Role,
    /// When the token expires: its `exp` plus the leeway.
    pub expires: Millis,
}

/// Reads the claims of a token whose signature was verified.
///
/// # Errors
/// The first invalid claim, in the order `sub`, `exp`, `nbf`, `iat`, `iss`, `aud`, `role`, `name`.
pub(crate) fn identity(
    payload: &[u8],
    rules: &TokenRules,
    now: Millis,
) -> Result<Identity, TokenError> {
    let claims =
        Members::read(payload).ok_or(TokenError::Malformed("its claims are no JSON object"))?;
    let user = claims
        .get("sub")
        .and_then(Value::as_str)
        .and_then(|sub| UserId::new(sub).ok())
        .ok_or(TokenError::Malformed("`sub` is no user id"))?;
    let leeway_ms = rules.leeway_s.saturating_mul(1_000);
    let date = |name: &str, wrong: &'static str| {
        let date = claims.get(name).map(numeric_date);
        date.map(|date| date.ok_or(TokenError::Malformed(wrong)))
            .transpose()
    };
    let expires = date("exp", "`exp` is no time in seconds")?
        .ok_or(TokenError::NoExpiry)?
        .plus(leeway_ms);
    if expires <= now {
        return Err(TokenError::Expired);
    }
    let not_before = date("nbf", "`nbf` is no time in seconds")?;
    if not_before.is_some_and(|from| from > now.plus(leeway_ms)) {
        return Err(TokenError::NotYet);
    }
    // `iat` must be a time but is not compared.
    date("iat", "`iat` is no time in seconds")?;
    let known = |values: &[String], text: &Value| {
        text.as_str()
            .is_some_and(|text| values.iter().any(|value| value == text))
    };
    if !rules.issuers.is_empty()
        && !claims
            .get("iss")
            .is_some_and(|iss| known(&rules.issuers, iss))
    {
        return Err(TokenError::Issuer);
    }
    if !rules.audiences.is_empty() {
        let one_is_ours = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(|aud| known(&rules.audiences, aud)),
            Some(aud) => known(&rules.audiences, aud),
            None => false,
        };
        if !one_is_ours {
            return Err(TokenError::Audience);
        }
    }
    let role = match claims.get("role") {
        None => Role::User,
        Some(role) => role
            .as_str()
            .and_then(Role::parse)
            .ok_or(TokenError::Malformed(
                "`role` is none of user, moderator, admin",
            ))?,
    };
    let name = match claims.get("name") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name.as_str()),
        Some(_) => return Err(TokenError::Malformed("`name` is no text")),
    };
    let name = text::shown_name(name, user.as_str()).into();
    Ok(Identity {
        user,
        name,
        role,
        expires,
    })
}

/// Reads seconds since 1970, with or without a fraction (RFC 7519, section 2); times before 1970 become 1970. `None` when
/// it is no number or later than the year 9999.
fn numeric_date(value: &Value) -> Option<Millis> {
    let Value::Number(number) = value else {
        return None;
    };
    if let Some(seconds) = number.as_u64() {
        return (seconds <= NUMERIC_DATE_S_MAX).then(|| Millis(seconds * 1_000));
    }
    let seconds = number.as_f64()?;
    // A cast of a negative number is 0.
    (seconds <= NUMERIC_DATE_S_MAX as f64).then_some(Millis((seconds * 1_000.0) as u64))
}
