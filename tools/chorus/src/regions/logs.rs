//! The logs of a region: their names and what each may take on a node's disk.

use chorus_protocol::subject;

use super::file::{Logs, Region, Supercluster};

/// One in so many bytes of a node's storage is left for logs that an operator makes.
const SPARE: u64 = 20;

/// A log, or the log beneath a bucket.
pub(super) struct Log {
    pub(super) name: String,
    /// Of one replica.
    pub(super) bytes_max: u64,
    /// Where this size comes from.
    pub(super) why: String,
    /// It is not on the disk.
    pub(super) memory: bool,
}

/// Every log of a region.
pub(super) fn of(supercluster: &Supercluster, region: &Region) -> Vec<Log> {
    let Logs {
        events_per_s,
        events_bytes,
        events_days,
        control_bytes,
        reactions_bytes,
        dead_bytes,
        presence_bytes,
        ..
    } = supercluster.logs;
    let mirror_days = supercluster.logs.mirror_days();
    let partitions = supercluster.partitions;
    let events_bytes_max = events_bytes_max(supercluster);
    let log = |name, bytes_max, why: &str| Log {
        name,
        bytes_max,
        why: why.to_owned(),
        memory: false,
    };
    let name = &region.name;
    let shared = if partitions > 1 {
        format!(", shared by {partitions} partitions")
    } else {
        String::new()
    };
    let why = format!(
        "{events_per_s} events/s × {events_bytes} B × {events_days} days × 86400 s{shared}"
    );
    let mut logs: Vec<Log> = (0..partitions)
        .map(|partition| log(subject::events_log(name, partition), events_bytes_max, &why))
        .collect();
    logs.extend([
        log(
            subject::control_log(name),
            control_bytes,
            "the last word on each stream",
        ),
        log(
            subject::reactions_log(name),
            reactions_bytes,
            "one total for each stream and type",
        ),
        log(
            subject::dead_log(name),
            dead_bytes,
            "dead letters of 30 days",
        ),
    ]);
    let buckets = [
        (subject::workers_bucket(name), "leases of worker numbers"),
        (subject::rights_bucket(name), "leases of roles' rights"),
    ];
    let buckets = buckets.map(|(bucket, why)| {
        let name = subject::bucket_log(&bucket);
        log(name, subject::LEASES_BYTES_MAX, why)
    });
    logs.extend(buckets);
    logs.push(Log {
        memory: true,
        ..log(
            subject::presence_log(name),
            presence_bytes,
            "leases of gateways, in memory",
        )
    });
    let why = format!(
        "{events_per_s} events/s × {events_bytes} B × {mirror_days} days × 86400 s{shared}"
    );
    let mirrors = peers(supercluster, region).flat_map(|peer| {
        let partitions = 0..partitions;
        partitions.map(|partition| subject::mirror_log(name, &peer.name, partition))
    });
    let mirror_bytes_max = mirror_bytes_max(supercluster);
    logs.extend(mirrors.map(|name| log(name, mirror_bytes_max, &why)));
    logs
}

/// The other regions.
pub(super) fn peers<'a>(
    supercluster: &'a Supercluster,
    region: &'a Region,
) -> impl Iterator<Item = &'a Region> {
    let peers = supercluster.regions.iter();
    peers.filter(|peer| peer.name != region.name)
}

/// Of one partition's replica of a mirror.
pub(super) fn mirror_bytes_max(supercluster: &Supercluster) -> u64 {
    let all = supercluster.logs.mirror_bytes_max().unwrap_or(0);
    all / u64::from(supercluster.partitions)
}

/// Of one partition's replica.
pub(super) fn events_bytes_max(supercluster: &Supercluster) -> u64 {
    // The file was checked.
    let all = supercluster.logs.events_bytes_max().unwrap_or(0);
    all / u64::from(supercluster.partitions)
}

/// What a node may store on its disk: each log once, and something to spare.
pub(super) fn node_bytes_max(logs: &[Log]) -> u64 {
    let stored = logs.iter().filter(|log| !log.memory);
    let sum: u64 = stored.map(|log| log.bytes_max).sum();
    sum + sum / SPARE
}

/// As people write sizes: `3.93 TB`.
pub(super) fn human(bytes: u64) -> String {
    let units = [(1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")];
    let bytes = bytes as f64;
    let (unit, name) = units
        .into_iter()
        .find(|(unit, _)| bytes >= *unit)
        .unwrap_or((1.0, "B"));
    format!("{:.2} {name}", bytes / unit)
}
