//! The PoP's configuration: one TOML file. Every value has a default or is demanded by name; unknown keys are errors.
//! Relative paths are relative to the current directory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use chorus_protocol::limits::{Batching, Limits};
use chorus_protocol::session::{SessionConfig, TokenKey};
use chorus_protocol::{PopId, Region};
use serde::{Deserialize, Serialize};

use crate::backhaul::{BackhaulBounds, BackhaulConfig};
use crate::component::Bounds;
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
    /// Where viewers connect.
    pub listen: SocketAddr,
    /// This PoP's name.
    pub pop: PopId,
    /// The region that it is near to; for logs and metrics.
    pub region: Region,
    /// Threads that serve viewers, 1 to 16; 0: one per core.
    pub shards: usize,
    /// The application's manifest; the session component is that of its `websocket` trigger.
    pub app: PathBuf,
    /// Where compiled components are kept. Nobody else may be able to write there: it is made with mode 0700.
    pub state_dir: PathBuf,
    /// The files served at `/`. Without it there are none.
    pub assets_dir: Option<PathBuf>,
    /// Viewers at once, 1 to 1,000,000; one more is closed with 4429.
    pub connections_max: usize,
    /// Seconds in which a drain closes the viewers, 0 to 600.
    pub drain_s: u64,
    /// Whether frames go out through `io_uring`: `auto` or `off`.
    pub io_uring: IoUring,
    /// Milliseconds that a turn of a busy shard, or of the backhaul's thread, lasts at least, 0 to 20: what comes meanwhile
    /// is done in one go.
    pub turn_ms_max: u64,
    /// Pages that may connect and call, as `Origin`s; without it any.
    pub allowed_origins: Option<Vec<String>>,
    /// The certificate for viewers; without it connections are not encrypted.
    pub tls: Option<TlsFiles>,
    /// The way to the region. Demanded.
    pub backhaul: Option<Backhaul>,
    /// What tokens may be signed with.
    pub tokens: Tokens,
    /// Bounds of the session, over the application's variables of the same names.
    pub limits: toml::Table,
    /// How the session groups comments into frames.
    pub batching: Batching,
    /// Bounds of a viewer's queue.
    pub queues: Queues,
    /// Bounds of the component host.
    pub component: Bounds,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            pop: fixed("dev-1"),
            region: fixed("dev"),
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
            tokens: Tokens::default(),
            limits: toml::Table::new(),
            batching: Batching::default(),
            queues: Queues::default(),
            component: Bounds::default(),
        }
    }
}

/// An id that is written in this file and therefore is one.
fn fixed<T: std::str::FromStr<Err = chorus_protocol::id::IdError>>(text: &'static str) -> T {
    match text.parse() {
        Ok(id) => id,
        Err(_) => unreachable!("a default is an id"),
    }
}

/// PEM files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate and what it is signed by.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How to reach the gateways.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Backhaul {
    /// `host:port` each; the nearest that answers is taken.
    pub gateways: Vec<String>,
    /// The name in the gateways' certificates.
    #[serde(default = "server_name")]
    pub server_name: String,
    /// The authority that signed the gateways' certificates.
    pub ca: PathBuf,
    /// This PoP's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Bounds.
    #[serde(default)]
    pub bounds: BackhaulBounds,
}

fn server_name() -> String {
    "gateway".to_owned()
}

/// What tokens may be signed with.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// Keys: `{alg = "HS256", secret = "…"}`, `{alg = "EdDSA", public = "…"}`, …, base64url.
    pub keys: Vec<TokenKey>,
    /// A JWKS document whose keys count too.
    pub jwks_file: Option<PathBuf>,
}

/// Bounds of a viewer's queue: what its socket has not taken yet. Past one the viewer is closed with 4408.
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
    /// A file that is not what it should be.
    #[error("{}: {error}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// A value out of its range, or values that do not go together.
    #[error("{0}")]
    Value(String),
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML or has a key that does not exist.
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

/// A configuration that holds: every value in its range, everything demanded there.
#[derive(Clone, Debug)]
pub struct Checked {
    /// As it was given.
    pub config: Config,
    /// How many shards.
    pub shards: usize,
    /// The way to the region.
    pub backhaul: BackhaulConfig,
    limits: Limits,
    jwks: Option<serde_json::Value>,
}

impl Checked {
    /// Checks ranges and what must go together; `variables` are those of the session component's manifest.
    ///
    /// # Errors
    /// The first that is wrong, by name.
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
            bounds: backhaul.bounds,
        };
        backhaul
            .check()
            .map_err(|error| ConfigError::Value(format!("backhaul.{error}")))?;
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

    /// What a shard's session starts with, as JSON.
    #[must_use]
    pub fn session(&self, shard: ShardId) -> Vec<u8> {
        let session = SessionConfig {
            shard,
            keys: self.config.tokens.keys.clone(),
            jwks: self.jwks.clone(),
            limits: self.limits.clone(),
            batching: self.config.batching.clone(),
        };
        serde_json::to_vec(&session).unwrap_or_default()
    }

    /// Bytes of a viewer's message.
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

    /// Pages that may connect and call.
    #[must_use]
    pub fn origins(&self) -> Origins {
        Origins(self.config.allowed_origins.clone())
    }
}

/// The defaults, over them the application's variables, over them the file's `[limits]`.
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
    // The error of a table does not say which of its keys is wrong.
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
