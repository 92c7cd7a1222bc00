//! The PoP's configuration: one TOML file. Every value has a default or is required; unknown keys are errors. Relative
//! paths are relative to the current directory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use chorus_protocol::limits::{Batching, Limits};
use chorus_protocol::presence;
use chorus_protocol::session::SessionConfig;
use chorus_protocol::tokens::TokensConfig;
use chorus_protocol::{PopId, Region};
use serde::{Deserialize, Serialize};

use crate::backhaul::{BackhaulBounds, BackhaulConfig};
use crate::component::Bounds;
use crate::http::HttpBounds;
use crate::link::ShardId;
use crate::shard::QueueBounds;
use crate::shard::send::IoUring;
use crate::ws::handshake::Origins;

/// The most shards: a comment id has 4 bits for them.
pub const SHARDS_MAX: usize = 16;

/// The whole file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address that viewers connect to.
    pub listen: SocketAddr,
    /// A separate address for health, readiness and metrics, unencrypted, so that viewers never delay them. `None`: only
    /// `listen` answers.
    pub admin_listen: Option<SocketAddr>,
    /// Whether `listen` serves `/metrics` too; it always serves health and readiness.
    pub public_metrics: bool,
    /// This PoP's name.
    pub pop: PopId,
    /// The nearest region; for logs, metrics and the list of PoPs.
    pub region: Region,
    /// Where browsers reach this PoP: `https://host`, perhaps with a port. `None`: other PoPs do not name it.
    pub public_url: Option<String>,
    /// Threads that serve viewers, 1 to 16; 0: one per core.
    pub shards: usize,
    /// The application's manifest; its `websocket` trigger names the session component.
    pub app: PathBuf,
    /// The directory for compiled components. It is created with mode 0700; others must not be able to write there.
    pub state_dir: PathBuf,
    /// The directory of files served at `/`; `None`: no files.
    pub assets_dir: Option<PathBuf>,
    /// Viewers connected at once, 1 to 1,000,000; a further one is closed with 4429.
    pub connections_max: usize,
    /// Seconds in which a drain closes the viewers, 0 to 600.
    pub drain_s: u64,
    /// Whether frames go out through `io_uring`: `auto` or `off`.
    pub io_uring: IoUring,
    /// Milliseconds, 0 to 20, that a turn of a shard or of the backhaul's thread lasts at least under full load: inputs
    /// that arrive meanwhile are handled as one batch.
    pub turn_ms_max: u64,
    /// The `Origin`s of pages that may connect and call; `None`: all.
    pub allowed_origins: Option<Vec<String>>,
    /// The certificate for viewers; `None`: connections are not encrypted.
    pub tls: Option<TlsFiles>,
    /// How to reach the region's gateways. Required.
    pub backhaul: Option<Backhaul>,
    /// Keys that may sign tokens, and rules for claims; as in an origin's configuration.
    pub tokens: TokensConfig,
    /// Limits of the session; they override the application's variables of the same names.
    pub limits: toml::Table,
    /// How the session batches comments.
    pub batching: Batching,
    /// Bounds of a viewer's queue.
    pub queues: Queues,
    /// Bounds of HTTP connections.
    pub http: HttpBounds,
    /// Bounds of the component host.
    pub component: Bounds,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: None,
            public_metrics: false,
            pop: fixed("dev-1"),
            region: fixed("dev"),
            public_url: None,
            shards: 0,
            app: "spin.toml".into(),
            state_dir: ".chorus/edge".into(),
            assets_dir: None,
            connections_max: 50_000,
            drain_s: 30,
            io_uring: IoUring::Auto,
            turn_ms_max: 16,
            allowed_origins: None,
            tls: None,
            backhaul: None,
            tokens: TokensConfig::default(),
            limits: toml::Table::new(),
            batching: Batching::default(),
            queues: Queues::default(),
            http: HttpBounds::default(),
            component: Bounds::default(),
        }
    }
}

/// Parses an id that is a constant of this file and valid.
fn fixed<T: std::str::FromStr<Err = chorus_protocol::id::IdError>>(text: &'static str) -> T {
    match text.parse() {
        Ok(id) => id,
        Err(_) => unreachable!("a default is an id"),
    }
}

/// The PEM files of a certificate.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// How to reach the gateways.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Backhaul {
    /// `host:port` each; the nearest one that answers is used.
    pub gateways: Vec<String>,
    /// The name in the gateways' certificates.
    #[serde(default = "server_name")]
    pub server_name: String,
    /// The authority that signed the gateways' certificates.
    pub ca: PathBuf,
    /// This PoP's certificate.
    pub cert: PathBuf,
    /// This PoP's private key.
    pub key: PathBuf,
    /// Bounds of the backhaul.
    #[serde(default)]
    pub bounds: BackhaulBounds,
}

fn server_name() -> String {
    "gateway".to_owned()
}

/// Bounds of a viewer's queue, which holds frames that its socket has not accepted yet. A viewer whose queue would pass
/// one is closed with 4408.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queues {
    /// Bytes, 4 KiB to 1 GiB.
    pub viewer_bytes_max: usize,
    /// Frames, 16 to 1,000,000.
    pub viewer_frames_max: usize,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            viewer_bytes_max: 1 << 20,
            viewer_frames_max: 4_096,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file that cannot be parsed.
    #[error("{}: {error}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// A value out of its range, or values that contradict each other.
    #[error("{0}")]
    Value(String),
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML or has an unknown key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
            path: path.to_owned(),
            error,
        })?;
        toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            error: error.to_string(),
        })
    }
}

/// A valid configuration: every value is in its range, all required values are there.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The configuration as given.
    pub config: Config,
    /// Number of shards, at least 1.
    pub shards: usize,
    /// How to reach the region's gateways.
    pub backhaul: BackhaulConfig,
    limits: Limits,
    jwks: Option<serde_json::Value>,
}

impl Checked {
    /// Checks all values; `variables` are the session component's, from the manifest.
    ///
    /// # Errors
    /// The first invalid value, by name.
    pub fn try_new(
        config: Config,
        variables: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let value = |text: String| Err(ConfigError::Value(text));
        let ranges = [
            ("shards", config.shards as u64, 0, SHARDS_MAX as u64),
            (
                "connections_max",
                config.connections_max as u64,
                1,
                1_000_000,
            ),
            ("drain_s", config.drain_s, 0, 600),
            ("turn_ms_max", config.turn_ms_max, 0, 20),
            (
                "queues.viewer_bytes_max",
                config.queues.viewer_bytes_max as u64,
                4 << 10,
                1 << 30,
            ),
            (
                "queues.viewer_frames_max",
                config.queues.viewer_frames_max as u64,
                16,
                1_000_000,
            ),
        ];
        for (name, given, least, most) in ranges {
            if given < least || given > most {
                return value(format!("{name} is {given}, must be {least} to {most}"));
            }
        }
        config
            .component
            .check()
            .map_err(|error| ConfigError::Value(format!("component.{error}")))?;
        config
            .http
            .check()
            .map_err(|error| ConfigError::Value(format!("http.{error}")))?;
        let limits = limits(&config.limits, variables)?;
        if config.queues.viewer_bytes_max < limits.message_bytes_max as usize * 4 {
            return value(
                "queues.viewer_bytes_max must be at least 4 × limits.message_bytes_max".to_owned(),
            );
        }
        let Some(backhaul) = config.backhaul.clone() else {
            return value(
                "[backhaul] is missing: gateways, ca, cert and key say how to reach the region"
                    .to_owned(),
            );
        };
        let backhaul = BackhaulConfig {
            gateways: backhaul.gateways,
            server_name: backhaul.server_name,
            ca: backhaul.ca,
            cert: backhaul.cert,
            key: backhaul.key,
            pop: config.pop.clone(),
            region: Some(config.region.clone()),
            public_url: config.public_url.clone(),
            bounds: backhaul.bounds,
        };
        backhaul
            .check()
            .map_err(|error| ConfigError::Value(format!("backhaul.{error}")))?;
        if let Some(url) = &config.public_url {
            presence::check_url(url)
                .map_err(|error| ConfigError::Value(format!("public_url {error}")))?;
        }
        config.tokens.check().map_err(ConfigError::Value)?;
        let jwks = config
            .tokens
            .jwks_file
            .as_deref()
            .map(read_json)
            .transpose()?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            shards: if config.shards == 0 {
                cores.min(SHARDS_MAX)
            } else {
                config.shards
            },
            backhaul,
            limits,
            jwks,
            config,
        })
    }

    /// The [`SessionConfig`] of a shard as JSON.
    #[must_use]
    pub fn session(&self, shard: ShardId) -> Vec<u8> {
        let session = SessionConfig {
            shard,
            keys: self.config.tokens.keys.clone(),
            jwks: self.jwks.clone(),
            token_rules: self.config.tokens.rules(),
            limits: self.limits.clone(),
            batching: self.config.batching.clone(),
        };
        serde_json::to_vec(&session).unwrap_or_default()
    }

    /// Bytes of a viewer's message, at most.
    #[must_use]
    pub fn message_bytes_max(&self) -> usize {
        self.limits.message_bytes_max as usize
    }

    /// Bounds of a viewer's queue.
    #[must_use]
    pub fn queue(&self) -> QueueBounds {
        QueueBounds {
            bytes_max: self.config.queues.viewer_bytes_max,
            frames_max: self.config.queues.viewer_frames_max,
        }
    }

    /// `Origin`s that may connect and call.
    #[must_use]
    pub fn origins(&self) -> Origins {
        Origins(self.config.allowed_origins.clone())
    }
}

/// The session's limits: the file's `[limits]` override the application's variables, which override the defaults.
fn limits(file: &toml::Table, variables: &BTreeMap<String, String>) -> Result<Limits, ConfigError> {
    let mut table = toml::Table::new();
    for (name, text) in variables {
        let number: i64 = text.parse().map_err(|_| {
            ConfigError::Value(format!(
                "the session's variable {name} is `{text}`, must be a number"
            ))
        })?;
        table.insert(name.clone(), toml::Value::Integer(number));
    }
    table.extend(file.clone());
    let one_wrong = |(name, value): (&String, &toml::Value)| {
        let one = toml::Table::from_iter([(name.clone(), value.clone())]);
        let error = one.try_into::<Limits>().err()?;
        Some(format!("limits.{name}: {}", error.message()))
    };
    // Each key is parsed alone first, because the error of the whole table does not name the key.
    if let Some(wrong) = table.iter().find_map(one_wrong) {
        return Err(ConfigError::Value(wrong));
    }
    table
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError::Value(format!("limits: {error}")))
}

fn read_json(path: &Path) -> Result<serde_json::Value, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| ConfigError::Read {
        path: path.to_owned(),
        error,
    })?;
    serde_json::from_slice(&bytes).map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        error: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
