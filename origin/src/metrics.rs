//! Everything the origin counts, as Prometheus text under `chorus_origin_*`.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::health::Health;

/// How a publication was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum AckLabel {
    /// For the first time.
    Stored,
    /// As a repeat.
    Duplicate,
    /// It is not stored.
    Refused,
    /// Nothing is known.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AckLabels {
    outcome: AckLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    region: String,
    partition: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RegionLabels {
    region: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// The counters, gauges and histograms.
pub struct Metrics {
    registry: Registry,
    /// What is wrong now.
    pub health: Health,
    /// Messages published.
    pub publishes: Counter,
    /// Comments that did not come back live in time and were published again.
    pub publishes_unproved: Counter,
    acks: Family<AckLabels, Counter>,
    /// From publishing to the acknowledgement.
    pub ack_seconds: Histogram,
    log_lines_lost: Gauge,
    /// Connections of the admin listener that gave way to newer ones.
    pub admin_evicted: Counter,
    /// Whether NATS is connected.
    pub nats_connected: Gauge,
    /// Messages dropped because a subscription of ours was full (they are seen as gaps and repaired).
    pub nats_slow_subscriptions: Counter,
    regions_away: Family<RegionLabels, Gauge>,
    events_stored: Family<RegionLabels, Counter>,
    log_breakers: Family<RegionLabels, Gauge>,
    mirror_lag: Family<RegionLabels, Gauge>,
    /// Live messages that could not be read.
    pub live_unreadable: Counter,
    /// Holes seen in live messages.
    pub gaps_seen: Counter,
    /// Holes closed from the log.
    pub gaps_repaired: Counter,
    /// Items that only the comparison of last sequences found.
    pub tail_repairs: Counter,
    /// Changes of streams that only the comparison with the control log found.
    pub lives_repaired: Counter,
    /// Streams followed.
    pub followers: Gauge,
    /// Delivery lanes of busy streams open.
    pub lanes: Gauge,
    /// Lanes whose queue was full and that caught up from the log.
    pub lanes_lagged: Counter,
    /// Items forwarded by followers.
    pub items_followed: Counter,
    /// PoPs connected.
    pub pops: Gauge,
    /// Gateways of all regions with a live lease.
    pub gateways_alive: Gauge,
    /// Leases of other gateways that could not be read or were too many.
    pub gateway_leases_dropped: Counter,
    /// Leases of this gateway that were not acknowledged in time.
    pub gateway_lease_failures: Counter,
    /// PoPs connected that have no room in this gateway's lease.
    pub lease_pops_left_out: Gauge,
    /// Microseconds that a turn of a thread lasts at least, by the load now.
    pub turn_us: Gauge,
    refused: Family<ReasonLabels, Counter>,
    /// Reactions that were not added because their users' limits were used up.
    pub reactions_refused: Counter,
    /// Users whose use of the limits is remembered.
    pub users_remembered: Gauge,
    /// Users forgotten while something of them still counted.
    pub users_evicted: Counter,
    /// Publications that wait for a look-up before they are let in or refused.
    pub admission_waiting: Gauge,
    /// Publications that found no room to wait: their PoPs send them again.
    pub admission_shed: Counter,
    /// Worker numbers leased by this process's connections.
    pub leases: Gauge,
    /// Comments written to the store.
    pub persist_rows: Counter,
    /// Comments that were in the store already.
    pub persist_repeats: Counter,
    /// Seconds for a batch of comments.
    pub persist_seconds: Histogram,
    persist_lag: Family<PartitionLabels, Gauge>,
    /// Messages given to the dead letters.
    pub dead_letters: Counter,
    calls: Family<CallLabels, Counter>,
    /// Seconds for a REST call.
    pub call_seconds: Histogram,
    /// REST calls refused because too many were under way.
    pub calls_shed: Counter,
}

impl Metrics {
    /// Registers everything.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("chorus_origin");
        let r = &mut registry;
        let seconds = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        Self {
            health: Health::new(r),
            publishes: counter(r, "publishes", "Messages published to the log"),
            publishes_unproved: counter(
                r,
                "publishes_unproved",
                "Comments that did not come back live in time and were published again",
            ),
            acks: register(r, "acks", "Acknowledgements by outcome", Family::default()),
            ack_seconds: register(
                r,
                "ack_seconds",
                "From publishing to the acknowledgement",
                seconds(),
            ),
            log_lines_lost: gauge(
                r,
                "log_lines_lost",
                "Log lines that could not be written or waited in too long a queue",
            ),
            admin_evicted: counter(
                r,
                "admin_evicted",
                "Connections of the admin listener that gave way to newer ones",
            ),
            nats_connected: gauge(r, "nats_connected", "1 while NATS is connected"),
            nats_slow_subscriptions: counter(
                r,
                "nats_slow_subscriptions",
                "Messages dropped by full subscriptions",
            ),
            regions_away: register(
                r,
                "region_away",
                "1 while a region's log cannot be seen",
                Family::default(),
            ),
            events_stored: register(
                r,
                "events_stored",
                "Events that this gateway's posts became, by the region whose log acknowledged them",
                Family::default(),
            ),
            log_breakers: register(
                r,
                "log_breaker_open",
                "1 while a region's log takes no events of this gateway and they go to the next one's",
                Family::default(),
            ),
            mirror_lag: register(
                r,
                "mirror_lag",
                "Messages of a region that its mirror here does not have",
                Family::default(),
            ),
            live_unreadable: counter(r, "live_unreadable", "Live messages that could not be read"),
            gaps_seen: counter(r, "gaps_seen", "Holes seen in live messages"),
            gaps_repaired: counter(r, "gaps_repaired", "Holes closed from the log"),
            tail_repairs: counter(
                r,
                "tail_repairs",
                "Items found only by comparing last sequences",
            ),
            lives_repaired: counter(
                r,
                "lives_repaired",
                "Changes of streams found only by comparing with the control log",
            ),
            followers: gauge(r, "followers", "Streams followed"),
            lanes: gauge(r, "lanes", "Delivery lanes of busy streams open"),
            lanes_lagged: counter(
                r,
                "lanes_lagged",
                "Lanes whose queue was full and that caught up from the log",
            ),
            items_followed: counter(r, "items_followed", "Items forwarded by followers"),
            pops: gauge(r, "pops", "PoPs connected"),
            gateways_alive: gauge(
                r,
                "gateways_alive",
                "Gateways of all regions with a live lease",
            ),
            gateway_leases_dropped: counter(
                r,
                "gateway_leases_dropped",
                "Leases of gateways that could not be read or were too many",
            ),
            gateway_lease_failures: counter(
                r,
                "gateway_lease_failures",
                "Leases of this gateway that were not acknowledged in time",
            ),
            lease_pops_left_out: gauge(
                r,
                "lease_pops_left_out",
                "PoPs connected that have no room in this gateway's lease",
            ),
            turn_us: gauge(
                r,
                "turn_us",
                "Microseconds that a turn of a thread lasts at least, by the load now",
            ),
            refused: register(
                r,
                "posts_refused",
                "Posts refused by reason",
                Family::default(),
            ),
            reactions_refused: counter(
                r,
                "reactions_refused",
                "Reactions not added because their users' limits were used up",
            ),
            users_remembered: gauge(
                r,
                "users_remembered",
                "Users whose use of the limits is remembered",
            ),
            users_evicted: counter(
                r,
                "users_evicted",
                "Users forgotten while something of them still counted",
            ),
            admission_waiting: gauge(
                r,
                "admission_waiting",
                "Publications that wait for a look-up before they are let in or refused",
            ),
            admission_shed: counter(
                r,
                "admission_shed",
                "Publications that found no room to wait; their PoPs send them again",
            ),
            leases: gauge(
                r,
                "leases",
                "Worker numbers leased by connections of this process",
            ),
            persist_rows: counter(r, "persist_rows", "Comments written to the store"),
            persist_repeats: counter(
                r,
                "persist_repeats",
                "Comments that were in the store already",
            ),
            persist_seconds: register(
                r,
                "persist_seconds",
                "Seconds for a batch of comments",
                seconds(),
            ),
            persist_lag: register(
                r,
                "persist_lag",
                "Messages of a partition behind what is persisted",
                Family::default(),
            ),
            dead_letters: counter(r, "dead_letters", "Messages given to the dead letters"),
            calls: register(
                r,
                "api_requests",
                "REST calls by route and status",
                Family::default(),
            ),
            call_seconds: register(r, "api_seconds", "Seconds for a REST call", seconds()),
            calls_shed: counter(
                r,
                "api_shed",
                "REST calls refused because too many were under way",
            ),
            registry,
        }
    }

    /// Counts an acknowledgement.
    pub fn ack(&self, outcome: AckLabel) {
        self.acks.get_or_create(&AckLabels { outcome }).inc();
    }

    /// Says how many messages the mirror of a region is behind its origin.
    pub fn mirror_lag(&self, region: &chorus_protocol::Region, messages: u64) {
        let region = region.as_str().to_owned();
        let lag = self.mirror_lag.get_or_create(&RegionLabels { region });
        lag.set(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    /// Says how many messages of a region's partition are behind what is persisted.
    pub fn persist_lag(&self, region: &chorus_protocol::Region, partition: u16, messages: u64) {
        let region = region.as_str().to_owned();
        let lag = self
            .persist_lag
            .get_or_create(&PartitionLabels { region, partition });
        lag.set(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    /// Says whether a region can be seen.
    pub fn region_away(&self, region: &chorus_protocol::Region, away: bool) {
        let region = region.as_str().to_owned();
        let gauge = self.regions_away.get_or_create(&RegionLabels { region });
        gauge.set(i64::from(away));
    }

    /// Counts an event that a region's log acknowledged.
    pub fn event_stored(&self, region: &chorus_protocol::Region) {
        let region = region.as_str().to_owned();
        self.events_stored
            .get_or_create(&RegionLabels { region })
            .inc();
    }

    /// Says whether a region's log takes no events.
    pub fn log_breaker(&self, region: &chorus_protocol::Region, open: bool) {
        let region = region.as_str().to_owned();
        let gauge = self.log_breakers.get_or_create(&RegionLabels { region });
        gauge.set(i64::from(open));
    }

    /// Counts a post that was refused.
    pub fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts a REST call.
    pub fn call(&self, route: &'static str, status: u16) {
        self.calls
            .get_or_create(&CallLabels { route, status })
            .inc();
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn text(&self) -> String {
        self.log_lines_lost
            .set(i64::try_from(chorus_telemetry::lines_lost()).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn register<M>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M
where
    M: prometheus_client::registry::Metric + Clone,
{
    registry.register(name, help, metric.clone());
    metric
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    register(registry, name, help, Counter::default())
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    register(registry, name, help, Gauge::default())
}
