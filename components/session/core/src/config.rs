//! Reads the configuration the host hands in.

use chorus_protocol::limits::{Batching, Limits};
use chorus_protocol::rate::UserLimits;
use chorus_protocol::session::SessionConfig;
use chorus_tokens::{KeyError, Verifier};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::rate::Bucket;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("the configuration cannot be read: {0}")]
    Json(String),
    /// A shard has no place in the comment ids.
    #[error("shard {0} is not within 0 to 15")]
    Shard(u8),
    /// A key cannot be used.
    #[error("a token key cannot be used: {0}")]
    Key(#[from] KeyError),
}

/// A configuration that was checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) values: SessionConfig,
    pub(crate) verifier: Verifier,
    /// Of a connection's messages.
    pub(crate) messages: Bucket,
    /// Of a user.
    pub(crate) user: UserLimits,
}

impl Config {
    pub(crate) fn read(json: &[u8]) -> Result<Self, ConfigError> {
        let unreadable = |error: serde_json::Error| ConfigError::Json(error.to_string());
        let mut value: Value = serde_json::from_slice(json).map_err(unreadable)?;
        // A neighbouring version's host may know bounds that this one does not; those it can do nothing about.
        keep_known(&mut value, "limits", &Limits::default());
        keep_known(&mut value, "batching", &Batching::default());
        let values: SessionConfig = serde_json::from_value(value).map_err(unreadable)?;
        Self::new(values)
    }

    pub(crate) fn new(values: SessionConfig) -> Result<Self, ConfigError> {
        if values.shard > chorus_protocol::CommentId::SHARD_MAX {
            return Err(ConfigError::Shard(values.shard));
        }
        let verifier = Verifier::try_new(&values.keys, values.jwks.as_ref(), &values.token_rules)?;
        let limits = &values.limits;
        Ok(Self {
            verifier,
            messages: Bucket::new(
                limits.messages_per_s.into(),
                1_000,
                limits.messages_burst.into(),
            ),
            user: UserLimits::from(limits),
            values,
        })
    }
}

fn keep_known<T: Serialize + DeserializeOwned>(value: &mut Value, field: &str, known: &T) {
    let Ok(Value::Object(known)) = serde_json::to_value(known) else {
        return;
    };
    if let Some(Value::Object(given)) = value.get_mut(field) {
        given.retain(|name, _| known.contains_key(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_a_newer_host_are_passed_over() {
        let config = Config::read(
            br#"{"shard":3,"limits":{"messages_per_s":7,"colour_max":1},"tomorrow":{}}"#,
        )
        .expect("reads");
        assert_eq!(config.values.limits.messages_per_s, 7);
        assert_eq!(
            config.values.limits.messages_burst,
            Limits::default().messages_burst
        );
        assert!(matches!(
            Config::read(br#"{"shard":16}"#),
            Err(ConfigError::Shard(16))
        ));
        assert!(matches!(Config::read(b"{"), Err(ConfigError::Json(_))));
    }
}
