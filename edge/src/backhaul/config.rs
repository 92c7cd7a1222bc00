//! The backhaul's configuration and its named bounds.

use std::path::PathBuf;

use chorus_protocol::backhaul::REACTION_USERS_MAX;
use chorus_protocol::{PopId, Region};
use serde::{Deserialize, Serialize};

/// How to reach the gateways, and what the backhaul may keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackhaulConfig {
    /// The gateways, `host:port` each. The nearest that answers is taken, of those about as near the one named first; with
    /// several the others are looked at again and again, and the PoP moves to one that stays nearer.
    pub gateways: Vec<String>,
    /// The name in the gateways' certificates.
    #[serde(default = "server_name")]
    pub server_name: String,
    /// PEM file with the authority that signed the gateways' certificates.
    pub ca: PathBuf,
    /// PEM file with this PoP's certificate and what it is signed by. Read again at each connection.
    pub cert: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
    /// Which PoP this is.
    pub pop: PopId,
    /// Its region; the gateway's when absent.
    #[serde(default)]
    pub region: Option<Region>,
    /// Where browsers reach it.
    #[serde(default)]
    pub public_url: Option<String>,
    /// Bounds.
    #[serde(default)]
    pub bounds: BackhaulBounds,
}

fn server_name() -> String {
    "chorus-gateway".to_owned()
}

/// The named bounds of the backhaul, with their defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackhaulBounds {
    /// Milliseconds from dialling to the gateway's welcome; then the next gateway is tried.
    pub connect_ms_max: u64,
    /// Milliseconds without a word after which the gateway counts as gone.
    pub idle_ms_max: u64,
    /// How often something is said on an idle connection, in milliseconds.
    pub keep_alive_ms: u64,
    /// The longest wait between two attempts to connect, in milliseconds.
    pub reconnect_ms_max: u64,
    /// How often the other gateways are looked at, in milliseconds.
    pub look_ms: u64,
    /// Bytes of the first packets; larger ones are found out later. Raise it only where the path is known.
    pub initial_mtu: u16,
    /// Bytes received and not yet read, of one lane and of all.
    pub lane_window_bytes: u32,
    /// See `lane_window_bytes`.
    pub window_bytes: u32,
    /// Lanes the gateway may have open: one per stream held.
    pub lanes_max: u32,
    /// Events of the connection waiting to be handled; the lanes wait beyond.
    pub events_waiting_max: usize,
    /// Posts waiting for the log; one more is refused as `unavailable`.
    pub posts_waiting_max: usize,
    /// Milliseconds after which an unanswered post is `unconfirmed` (or `unavailable`, when it never left).
    pub unconfirmed_ms: u64,
    /// The longest wait before a post of unknown outcome is sent again, in milliseconds.
    pub retry_ms_max: u64,
    /// Events kept of each stream; the oldest goes.
    #[serde(alias = "cache_items_max")]
    pub cache_events_max: usize,
    /// Bytes of events kept of each stream; the oldest goes.
    pub cache_bytes_max: usize,
    /// Newest comments given to a shard that subscribes later.
    pub newest_max: usize,
    /// Deliveries of a stream kept that come before what they follow; beyond, the stream is asked for again.
    pub early_max: usize,
    /// How long they wait for what comes over another lane before the stream is asked for again.
    pub early_ms_max: u64,
    /// Milliseconds a stream is held on after the last shard left it.
    pub release_ms: u64,
    /// Replays asked of the gateway at once; more wait.
    pub replays_max: usize,
    /// Replays waiting; one more is a gap.
    pub replays_waiting_max: usize,
    /// Milliseconds to answer a replay, attempts included; then it is a gap.
    pub replay_ms_max: u64,
    /// REST calls at once; one more is unavailable.
    pub rest_max: usize,
    /// Milliseconds to answer a REST call.
    pub rest_ms_max: u64,
    /// How often a stream's reactions are handed in, in milliseconds.
    pub reactions_ms: u64,
    /// Types of reactions of one stream waiting to be handed in; more are dropped.
    pub reaction_types_max: usize,
    /// Users whose reactions of one stream wait to be handed in; those of more are dropped (metric
    /// `reactions_dropped`).
    pub reaction_users_max: usize,
    /// Milliseconds after which reactions that cannot be handed in are dropped: the log forgets their key.
    pub reactions_ms_max: u64,
    /// How often a stream's viewer count is sent at the most, in milliseconds.
    pub viewers_ms: u64,
    /// Milliseconds before its end from which the lease of the worker id is not used.
    pub lease_margin_ms: u64,
}

impl Default for BackhaulBounds {
    fn default() -> Self {
        Self {
            connect_ms_max: 1_500,
            idle_ms_max: 1_800,
            keep_alive_ms: 500,
            reconnect_ms_max: 1_000,
            look_ms: 10_000,
            initial_mtu: 1_200,
            lane_window_bytes: 8 << 20,
            window_bytes: 128 << 20,
            lanes_max: 1 << 16,
            events_waiting_max: 8_192,
            posts_waiting_max: 20_000,
            unconfirmed_ms: 30_000,
            retry_ms_max: 2_000,
            cache_events_max: 2_000,
            cache_bytes_max: 2 << 20,
            newest_max: 50,
            early_max: 10_000,
            early_ms_max: 1_000,
            release_ms: 5_000,
            replays_max: 64,
            replays_waiting_max: 4_096,
            replay_ms_max: 10_000,
            rest_max: 256,
            rest_ms_max: 10_000,
            reactions_ms: 500,
            reaction_types_max: 64,
            reaction_users_max: 16_384,
            reactions_ms_max: 9 * 60_000,
            viewers_ms: 1_000,
            lease_margin_ms: 250,
        }
    }
}

impl BackhaulConfig {
    /// Says what does not go together.
    ///
    /// # Errors
    /// The first value that is out of its range, by name.
    pub fn check(&self) -> Result<(), String> {
        if self.gateways.is_empty() {
            return Err("gateways is empty: give at least one host:port".to_owned());
        }
        let bounds = &self.bounds;
        if bounds.keep_alive_ms >= bounds.idle_ms_max {
            return Err(format!(
                "keep_alive_ms ({}) must be less than idle_ms_max ({})",
                bounds.keep_alive_ms, bounds.idle_ms_max
            ));
        }
        let ranges = [
            ("initial_mtu", u64::from(bounds.initial_mtu), 1_200, 65_000),
            (
                "posts_waiting_max",
                bounds.posts_waiting_max as u64,
                1,
                1 << 24,
            ),
            ("replays_max", bounds.replays_max as u64, 1, 4_096),
            ("rest_max", bounds.rest_max as u64, 1, 65_536),
            ("lanes_max", u64::from(bounds.lanes_max), 16, 1 << 20),
            (
                "events_waiting_max",
                bounds.events_waiting_max as u64,
                16,
                1 << 20,
            ),
            ("early_ms_max", bounds.early_ms_max, 1, 60_000),
            (
                "reaction_users_max",
                bounds.reaction_users_max as u64,
                1,
                REACTION_USERS_MAX as u64,
            ),
            ("reactions_ms", bounds.reactions_ms, 10, 60_000),
            ("viewers_ms", bounds.viewers_ms, 10, 60_000),
            ("idle_ms_max", bounds.idle_ms_max, 100, 600_000),
            ("look_ms", bounds.look_ms, 100, 3_600_000),
        ];
        for (name, value, least, most) in ranges {
            if value < least || value > most {
                return Err(format!("{name} is {value}, must be {least} to {most}"));
            }
        }
        Ok(())
    }
}
