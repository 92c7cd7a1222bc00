//! The configuration of `chorus-origin`: one struct, every value with a default where one makes sense.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use chorus_protocol::rate::UserLimits;
use chorus_protocol::tokens::TokensConfig;
use chorus_protocol::{CommentId, Region};
use serde::{Deserialize, Serialize};

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key or a value of the wrong type.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A value, or values together, that make no sense.
    #[error("{0}")]
    Value(String),
}

/// Partitions of a region's events. Each is a log with a leader and a durable of its own; one takes tens of thousands
/// of events a second.
const PARTITIONS_MAX: u64 = 64;

/// What a process does. Several may share a process, or each have its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Serves PoPs over QUIC.
    Gateway,
    /// Writes the comment log to the store.
    Persist,
    /// Answers the REST interface.
    Api,
}

impl Role {
    /// Its name in configuration, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Persist => "persist",
            Self::Api => "api",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "gateway" => Ok(Self::Gateway),
            "persist" => Ok(Self::Persist),
            "api" => Ok(Self::Api),
            other => Err(format!("`{other}` is none of gateway, persist, api")),
        }
    }
}

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The region this process belongs to.
    pub region: Region,
    /// What it does; all roles when absent.
    #[serde(default = "all_roles")]
    pub roles: Vec<Role>,
    /// Threads that do it, 0 to 64; 0: one per core. One alone costs the least CPU a comment: nothing is handed from
    /// thread to thread.
    #[serde(default)]
    pub threads: usize,
    /// Milliseconds that a turn of a busy thread lasts at least, 0 to 20: what comes meanwhile is done in one go.
    #[serde(default = "turn_ms_max")]
    pub turn_ms_max: u64,
    /// Bytes that must be free on a disk of the store or of the log, 65,536 and more: with fewer it counts as full.
    #[serde(default = "disk_free_bytes_min")]
    pub disk_free_bytes_min: u64,
    /// Where `/healthz`, `/readyz` and `/metrics` answer.
    #[serde(default = "admin_listen")]
    pub admin_listen: SocketAddr,
    /// The log.
    #[serde(default)]
    pub nats: Nats,
    /// The PoPs' way in; needed by the role `gateway`.
    pub gateway: Option<Gateway>,
    /// What users are held to over all PoPs of the gateway; the PoPs have the same in theirs.
    #[serde(default)]
    pub limits: Limits,
    /// The record.
    pub store: Store,
    /// What tokens of the REST interface may be signed with, and what they must say: as in a PoP's configuration.
    #[serde(default)]
    pub tokens: TokensConfig,
    /// Present in the development mode only.
    pub dev: Option<Dev>,
}

/// How to reach NATS and how its logs are provisioned.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nats {
    /// Servers, comma separated.
    pub url: String,
    /// A credentials file.
    pub credentials: Option<PathBuf>,
    /// PEM: who signs the servers' certificates; the system's authorities when absent.
    pub ca: Option<PathBuf>,
    /// PEM: the certificate chain that says which user of NATS this is; goes with `key`.
    pub cert: Option<PathBuf>,
    /// PEM: its key.
    pub key: Option<PathBuf>,
    /// What the subjects of answers begin with: one that only this user may subscribe to.
    pub inbox: Option<String>,
    /// Copies of every log, 1 to 5. One node refuses 3.
    pub replicas: usize,
    /// How the servers are configured to sync, for what operators are told at start.
    pub sync: Sync,
    /// In how many partitions the region's events are, 1 to 64. Another number than the logs have is refused until the
    /// store holds all they have; then they are made anew.
    pub partitions: u16,
    /// The first and the last worker number of this region's block: blocks of regions must not overlap.
    pub workers: [u16; 2],
    /// Other regions whose logs are mirrored here under their own names, the nearest first: events go to the next one's
    /// log when this region's is away.
    pub peers: Vec<Region>,
    /// With peers: an event that a region's log does not acknowledge for so long goes to the next region's, 250 to
    /// 5,000 ms.
    pub ack_ms_max: u64,
    /// The place of this region's logs in a supercluster; `None` leaves it to the server.
    pub cluster: Option<String>,
    /// Bytes the log of events may take; -1 is no bound.
    #[serde(alias = "comments_bytes_max")]
    pub events_bytes_max: i64,
    /// Days the log of events keeps a message, 1 to 365.
    #[serde(alias = "comments_days")]
    pub events_days: u32,
    /// Bytes the control log may take; -1 is no bound. A full one takes no new stream.
    pub control_bytes_max: i64,
    /// Bytes the log of reactions may take, the totals unchanged for longest of which go for new ones; -1 is no bound.
    pub reactions_bytes_max: i64,
    /// Bytes the log of dead letters may take, the oldest of which go for new ones; -1 is no bound.
    pub dead_bytes_max: i64,
    /// Bytes the log of the gateways' leases may take, in the servers' memory, the oldest of which go for new ones; -1 is no
    /// bound. One of 1,024 PoPs takes up to 500 kB.
    pub presence_bytes_max: i64,
    /// Days a mirror of another region's events keeps a message, 1 to 365: as long as the store may be away. Older ones are
    /// read in their region.
    pub mirror_days: u32,
    /// Bytes a mirror of a partition of another region's events may take, the oldest of which go for new ones; -1 is no
    /// bound.
    pub mirror_bytes_max: i64,
    /// The servers' store directory, where it is on this machine: posts are refused when its disk is full.
    pub directory: Option<PathBuf>,
}

/// What a `durable` receipt survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sync {
    /// Every two minutes: kills are survived, a loss of power is not.
    #[default]
    ServerDefault,
    /// `sync_interval: always`.
    Always,
}

/// The PoPs' way in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// The UDP address PoPs connect to.
    #[serde(default = "gateway_listen")]
    pub listen: SocketAddr,
    /// PEM: who signs PoPs' certificates.
    pub ca: PathBuf,
    /// PEM: this gateway's certificate chain.
    pub cert: PathBuf,
    /// PEM: its key.
    pub key: PathBuf,
    /// How long a worker number is leased, 3,000 to 600,000 ms.
    #[serde(default = "lease_ms")]
    pub lease_ms: u64,
    /// The newest comments given with a stream's state, 1 to 500.
    #[serde(default = "newest_max")]
    pub newest_max: usize,
    /// More than this many missed items are a gap, 1 to 100,000.
    #[serde(default = "resume_max")]
    pub resume_max: usize,
}

/// What users are held to: by name and default those of [`chorus_protocol::limits::Limits`] that hold over all PoPs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Comments of one user in any minute; more are refused with `rate_limited`.
    pub comments_per_minute: u32,
    /// Comments of one user in one stream in any 30 s; more are refused with `rate_limited`.
    pub comments_per_stream_30s: u32,
    /// Reactions of one user in any minute; more are not counted.
    pub reactions_per_minute: u32,
    /// Users whose use of the limits is remembered, 1,000 to 10,000,000; at the bound those who are free of them soonest
    /// go (metric `users_evicted`). One takes some 400 bytes.
    pub remembered_users_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let of_sessions = chorus_protocol::limits::Limits::default();
        Self {
            comments_per_minute: of_sessions.comments_per_minute,
            comments_per_stream_30s: of_sessions.comments_per_stream_30s,
            reactions_per_minute: of_sessions.reactions_per_minute,
            remembered_users_max: 200_000,
        }
    }
}

impl From<&Limits> for UserLimits {
    fn from(limits: &Limits) -> Self {
        Self::from(&chorus_protocol::limits::Limits {
            comments_per_minute: limits.comments_per_minute,
            comments_per_stream_30s: limits.comments_per_stream_30s,
            reactions_per_minute: limits.reactions_per_minute,
            ..chorus_protocol::limits::Limits::default()
        })
    }
}

/// The record: where it is, by what it is for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Of all that has no section of its own: `sqlite:///absolute/path.db`.
    pub url: Option<String>,
    /// Comments and what was decided about them.
    pub comments: Option<StoreOf>,
    /// How streams stand.
    pub streams: Option<StoreOf>,
}

/// Where the record of one thing is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreOf {
    /// As [`Store::url`].
    pub url: String,
}

/// A store's URL and the key that it stands under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreUrl<'a> {
    /// For messages: `store.url`.
    pub key: &'static str,
    /// The URL; empty when it is missing.
    pub url: &'a str,
}

impl Store {
    /// Where comments are.
    #[must_use]
    pub fn comments(&self) -> StoreUrl<'_> {
        self.url_of(self.comments.as_ref(), "store.comments.url")
    }

    /// Where streams are.
    #[must_use]
    pub fn streams(&self) -> StoreUrl<'_> {
        self.url_of(self.streams.as_ref(), "store.streams.url")
    }

    fn url_of<'a>(&'a self, own: Option<&'a StoreOf>, key: &'static str) -> StoreUrl<'a> {
        match (own, &self.url) {
            (Some(StoreOf { url }), _) => StoreUrl { key, url },
            (None, Some(url)) => StoreUrl {
                key: "store.url",
                url,
            },
            (None, None) => StoreUrl { key, url: "" },
        }
    }
}

/// The development mode.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dev {
    /// The HS256 secret that `POST /api/dev/token` signs with, base64url without padding, 32 bytes or more.
    pub token_secret: String,
}

impl std::fmt::Debug for Dev {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dev { .. }")
    }
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            credentials: None,
            ca: None,
            cert: None,
            key: None,
            inbox: None,
            replicas: 1,
            sync: Sync::default(),
            partitions: 1,
            workers: [0, CommentId::WORKER_MAX],
            peers: Vec::new(),
            ack_ms_max: 750,
            cluster: None,
            events_bytes_max: -1,
            events_days: 7,
            control_bytes_max: -1,
            reactions_bytes_max: -1,
            dead_bytes_max: -1,
            presence_bytes_max: 16_000_000,
            mirror_days: 2,
            mirror_bytes_max: -1,
            directory: None,
        }
    }
}

fn all_roles() -> Vec<Role> {
    vec![Role::Gateway, Role::Persist, Role::Api]
}

fn turn_ms_max() -> u64 {
    16
}

fn disk_free_bytes_min() -> u64 {
    4 << 20
}

fn admin_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 7480).into()
}

fn gateway_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 7443).into()
}

fn lease_ms() -> u64 {
    30_000
}

fn newest_max() -> usize {
    50
}

fn resume_max() -> usize {
    10_000
}

impl Config {
    /// Reads and checks a file; `roles` replaces the file's when given.
    ///
    /// # Errors
    /// When it cannot be read, has an unknown key, or its values make no sense.
    pub fn load(path: &std::path::Path, roles: Option<Vec<Role>>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::try_new(&text, roles)
    }

    /// Reads and checks TOML; `roles` replaces the text's when given.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn try_new(text: &str, roles: Option<Vec<Role>>) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text)?;
        if let Some(roles) = roles {
            config.roles = roles;
        }
        config.roles.sort_unstable();
        config.roles.dedup();
        config.check().map_err(ConfigError::Value)?;
        Ok(config)
    }

    /// Whether this process has a role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    fn check(&self) -> Result<(), String> {
        within("threads", self.threads as u64, 0, 64)?;
        within("turn_ms_max", self.turn_ms_max, 0, 20)?;
        within(
            "disk_free_bytes_min",
            self.disk_free_bytes_min,
            1 << 16,
            1 << 50,
        )?;
        if self.roles.is_empty() {
            return Err("roles: at least one".to_owned());
        }
        if self.has(Role::Gateway) && self.gateway.is_none() {
            return Err("the role gateway needs [gateway]".to_owned());
        }
        within("nats.replicas", self.nats.replicas as u64, 1, 5)?;
        within("nats.events_days", self.nats.events_days.into(), 1, 365)?;
        within("nats.mirror_days", self.nats.mirror_days.into(), 1, 365)?;
        if self.nats.cert.is_some() != self.nats.key.is_some() {
            return Err("nats.cert and nats.key go together".to_owned());
        }
        let partitions = self.nats.partitions.into();
        within("nats.partitions", partitions, 1, PARTITIONS_MAX)?;
        within("nats.ack_ms_max", self.nats.ack_ms_max, 250, 5_000)?;
        let [first, last] = self.nats.workers;
        let most = u64::from(CommentId::WORKER_MAX);
        within("nats.workers", last.into(), 0, most)?;
        if first > last {
            return Err("nats.workers: the first is beyond the last".to_owned());
        }
        for store in [self.store.comments(), self.store.streams()] {
            if store.url.is_empty() {
                return Err(format!("{} or store.url is needed", store.key));
            }
        }
        self.tokens.check()?;
        let users = self.limits.remembered_users_max as u64;
        within("limits.remembered_users_max", users, 1_000, 10_000_000)?;
        if self.nats.peers.contains(&self.region) {
            return Err(format!(
                "nats.peers: `{}` is this region itself",
                self.region
            ));
        }
        let peers: BTreeSet<&Region> = self.nats.peers.iter().collect();
        if peers.len() < self.nats.peers.len() {
            return Err("nats.peers: a region is named twice".to_owned());
        }
        if let Some(gateway) = &self.gateway {
            within("gateway.lease_ms", gateway.lease_ms, 3_000, 600_000)?;
            within("gateway.newest_max", gateway.newest_max as u64, 1, 500)?;
            within("gateway.resume_max", gateway.resume_max as u64, 1, 100_000)?;
        }
        Ok(())
    }
}

fn within(key: &str, value: u64, low: u64, high: u64) -> Result<(), String> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(format!("{key}: {value} is not within {low} to {high}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "region = \"dev\"\nroles = [\"api\"]\n[store]\nurl = \"sqlite:///x.db\"\n";

    #[test]
    fn the_least_is_enough_and_roles_may_be_replaced() {
        let config = Config::try_new(LEAST, None).expect("enough");
        assert_eq!(config.roles, [Role::Api]);
        let refused = Config::try_new(LEAST, Some(vec![Role::Gateway]));
        assert!(
            matches!(refused, Err(ConfigError::Value(_))),
            "no [gateway]"
        );
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_refused() {
        assert!(Config::try_new(&format!("colour = 1\n{LEAST}"), None).is_err());
        assert!(Config::try_new(&format!("{LEAST}[nats]\nreplicas = 9\n"), None).is_err());
        assert!(Config::try_new(&format!("{LEAST}[limits]\nmessages_per_s = 9\n"), None).is_err());
        let few = Config::try_new(
            &format!("{LEAST}[limits]\nremembered_users_max = 9\n"),
            None,
        );
        assert!(matches!(few, Err(ConfigError::Value(_))));
    }

    #[test]
    fn each_store_has_a_url_of_its_own_or_that_of_all() {
        let with = |store: &str| {
            let text = format!("region = \"dev\"\nroles = [\"api\"]\n[store]\n{store}\n");
            Config::try_new(&text, None).map(|config| config.store)
        };
        let store = with("url = \"all\"\n[store.streams]\nurl = \"own\"").expect("enough");
        let (comments, streams) = (store.comments(), store.streams());
        assert_eq!((comments.key, comments.url), ("store.url", "all"));
        assert_eq!((streams.key, streams.url), ("store.streams.url", "own"));
        let refused = with("[store.comments]\nurl = \"own\"").expect_err("streams have none");
        let refused = refused.to_string();
        assert!(refused.contains("store.streams.url"), "{refused}");
        assert!(with("url = \"all\"\n[store.users]\nurl = \"x\"").is_err());
    }

    #[test]
    fn tokens_are_configured_as_at_a_pop() {
        let with = |text: &str| Config::try_new(&format!("{LEAST}[tokens]\n{text}\n"), None);
        let config = with(
            "jwks_file = \"jwks.json\"\naudiences = [\"chorus\"]\nissuers = [\"https://id.example\"]\nleeway_s = 5",
        )
        .expect("the same keys");
        assert!(config.tokens.jwks_file.is_some());
        assert_eq!(config.tokens.rules().leeway_s, 5);
        assert_eq!(config.tokens.rules().audiences, ["chorus"]);
        let default = Config::try_new(LEAST, None).expect("enough");
        assert_eq!(default.tokens.leeway_s, 60);
        for wrong in [
            "leeway_s = 601",
            "leeway_s = -1",
            "audiences = [\"\"]",
            "audience = \"x\"",
        ] {
            let refused = with(wrong).expect_err(wrong).to_string();
            assert!(
                refused.contains("audience") || refused.contains("leeway_s"),
                "{refused}"
            );
        }
    }

    #[test]
    fn the_example_is_one_and_says_the_defaults() {
        let text = include_str!("../origin.example.toml");
        let example = Config::try_new(text, None).expect("an origin's configuration");
        let least = format!(
            "{LEAST}[gateway]\nca = \"ca.pem\"\ncert = \"gateway.pem\"\nkey = \"gateway.key\"\n"
        );
        let mut least = Config::try_new(&least, Some(all_roles())).expect("enough");
        least.store = example.store.clone();
        assert_eq!(format!("{example:?}"), format!("{least:?}"));
    }
}
